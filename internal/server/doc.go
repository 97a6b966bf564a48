// Package server answers gRPC calls: the two services of tokenbroker.v1 and health. The comments in the .proto files are the
// specification; this page says how it is kept.
//
// # Reads
//
// GetToken of an active token takes no lock, makes no call, and allocates once, for its answer. ListTokens and GetStatus are answered
// from memory too. Everything that waits does so beside that path, in settle, WatchToken and pursue.
//
// A time to live is computed as the last step before an answer is handed to gRPC, never carried across a wait; what the guard's Hand takes
// after that, a second where the audit log's disk hangs, is taken off. A pause of the process after that step harms nobody, since callers
// count from the moment at which they sent their request.
//
// What GetToken answers, by what the view can promise:
//
//	state     min_ttl   view      answer
//	active    kept      any       at once
//	active    not kept  any       waits until a reading keeps it, or the caller's deadline; then DEADLINE_EXCEEDED
//	suspect   none      in sync   waits 1 s for a promise, then the suspect token with ttl 0
//	suspect   none      cut off   at once the suspect token: no commit would be seen
//	suspect   any       any       as active, not kept
//	expired   none      in sync   waits 1 s for a promise, then UNAVAILABLE
//	expired   none      cut off   at once UNAVAILABLE
//	expired   any       any       waits until the caller's deadline, then UNAVAILABLE
//
// # Waits
//
// A call waits for the view to change, and looks at it anew every lookAgain besides, because three things change what can be promised
// without any event: time passes, a proof of freshness renews the promise on a rotating token, and the clock may jump. A wait ends
//
//   - after its own limit: one second for a caller who would take any life, 60 s where the caller set no deadline;
//   - a little before the caller's deadline, so that the answer, or the reason why there is none, still arrives;
//   - when the replica drains: a caller does better to ask another replica than to wait here;
//   - when the token is taken out of the configuration (NOT_FOUND), or stands for another upstream now (UNAVAILABLE, RECONFIGURED).
//
// # Streams
//
// WatchToken sends what is true at the moment of sending, and remembers only what it sent last; there is no queue. It looks at the
// token when the view changes, when the promise that it told of ends, and every watchTick for the sake of clocks that jump. A message
// may be under way for long where a reader is slow, and a renewal of the promise on a rotating token is no message: a stream tells
// *that* there is something new, and who must know for how long asks GetToken.
//
// # Asking the leader
//
// Reports and operators' commands reach the leader through an Asker. Callers on this replica who ask for the same thing share one
// question. The question outlives any one caller, because the next caller wants its answer too, but not the replica. Whoever asked
// watches the view at the same time, and is content as soon as it shows what was wanted, whether or not the leader has answered:
// a leader that dies between its commit and its reply costs nobody anything. A replica that is cut off from etcd would see nothing of the
// outcome: it refuses orders at once, and lets reports go soon, so that they are made elsewhere.
//
// A report names a version, or a value that is compared with the current one only, in constant time. Which means:
//
//	what was reported                        what happens
//	the current version                      the leader is asked
//	an older version, or any other value     answered like GetToken
//	a newer version                          waits up to 3 s for this replica to catch up; then INVALID_ARGUMENT if the view was
//	                                         proved current since the call arrived, else UNAVAILABLE (REPLICA_LAGGING)
//
// # The guard
//
// With a Guard, a call passes these, whatever its method:
//
//	Admit    before anything of the request is looked at: who calls, and what they have left of calls and streams
//	Allow    when the request is decoded, before the handler sees it. Not even the name is looked up before, so that neither an answer nor
//	         its timing tells an outsider whether there is such a token
//	Hand     before an answer, or a message of a stream, leaves: not only GetToken and WatchToken hand out values, the answer to a report does, too
//	End      when it is known what the caller is told
//
// ListTokens and GetStatus ask Allow for each token, and show those that are allowed; who may see none is refused. A stream asks Allow again
// whenever it looks at its token, which is every watchTick at least, so it ends within seconds when a policy or credentials do. The exception is a stream whose
// reader does not read: it stands in Send, with nothing new for its reader, until the connection ends.
//
// A method that is not in the table of permissions has a verb that nobody is allowed. Health and reflection tell nothing of tokens, and are
// not guarded. Without a Guard nothing of this costs anything.
//
// # Errors
//
// What a caller may learn is a refusal: a code, a text, and details (RetryInfo, ErrorInfo). Every other error is Internal, whatever
// statuses it may wrap: logged with its cause, and answered without it. A panic is such an error; of its value only the type is
// logged, since the value may be anything. No error contains a token.
//
// # Life and death
//
// New starts nothing. Run serves until its context ends. Health is NOT_SERVING until there is something to serve from, then SERVING, on
// followers as on the leader. A replica that shuts down
//
//  1. retires (Retire): health is NOT_SERVING, calls are answered as before;
//  2. hands over what it leads, which is not this package's business;
//  3. drains, when Run's context ends: waits and streams end with UNAVAILABLE (REPLICA_DRAINING), health's own streams end,
//     connections are told to go away, calls under way are finished;
//  4. cuts off what is left after Config.DrainTimeout.
//
// # Who leads
//
// GetStatus and the metrics name a leader only while the view is in sync. What the observer of the election knows is as old as its last
// word from etcd, and of that it says nothing; the view is proved current each second, over the same client, by the same kind of read.
// So where the view is in sync, the observer's reads get through as well, and its picture is a TTL old at most; where it is not, this
// replica is cut off, and who leads is anybody's guess. One clock then says the same of the view, the leader and the metrics.
//
// That this replica itself leads it says only while its elector is sure of the term, too: the key in etcd outlives that by seconds.
//
// # Metrics
//
// Calls are counted around the generated handlers instead of by interceptors, with counters that are looked up once. The state of
// tokens is not kept up to date anywhere: it is read when somebody scrapes.
package server
