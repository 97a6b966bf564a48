// Package server answers gRPC calls: the two services of tokenbroker.v1 and health. The comments in the .proto files are the
// specification; this page says how it is kept.
//
// # Reads
//
// GetToken of an active token takes no lock, makes no call, and allocates once, for its answer. ListTokens and GetStatus are answered
// from memory too. Everything that waits does so beside that path, in settle, WatchToken and pursue.
//
// A time to live is computed as the last step before an answer is handed to gRPC, never carried across a wait.
//
// # Waits
//
// A call waits for the view to change, and looks at it anew every lookAgain besides, because three things change what can be promised
// without any event: time passes, a proof of freshness renews the promise on a rotating token, and the clock may jump. A wait ends
//
//   - after its own limit: one second for a caller who would take any life, 60 s where the caller set no deadline;
//   - a little before the caller's deadline, so that the answer, or the reason why there is none, still arrives;
//   - when the replica drains: a caller does better to ask another replica than to wait here.
//
// # Asking the leader
//
// Reports and operators' commands reach the leader through an Asker. Callers on this replica who ask for the same thing share one
// question. The question outlives any one caller, because the next caller wants its answer too, but not the replica.
//
// # Errors
//
// What a caller may learn is a refusal: a code, a text, and details (RetryInfo, ErrorInfo). Every other error is Internal, whatever
// statuses it may wrap: logged with its cause, and answered without it. No error contains a token.
package server
