// Package view is what this replica may promise: for each token the newest record that the replica has seen, and how long a caller
// may rely on it.
//
// Data flows one way: the store's watch calls Apply and Synced, handlers call Token and Read. A read takes no lock, makes no call
// and allocates nothing.
//
// # Freshness
//
// A watch tells of changes at any time, but its silence proves nothing: it may lag, or the connection may be dead. What a replica
// knows to be current rests on a proof: t_sync, the *send* time of a linearizable read whose result the view had applied. Apply
// never renews it; only Synced does. Anchoring it at the answer would be wrong: an answer that was under way while a fetch
// began and ended would make the replica vouch for the time after that fetch.
//
// # Remaining life
//
// The promise on a token is the least of
//
//   - its nominal end. A replica that was in sync when it saw the attempt begin counts the life from its t_sync before that: the token
//     cannot have been issued before its attempt was begun, so no wall clock is needed. A replica that joined later counts from the
//     record's wall time, less the largest tolerated skew between clocks. After a jump of the wall clock a life is
//     counted anew from it; one that needed no wall clock regains at most what forward jumps had taken from it;
//   - for a rotating upstream: t_sync + W. Until t_sync no fetch had begun that could have rotated the token away, and a rotated token
//     outlives the fetch by more than W;
//   - while an attempt is pending or the token is in doubt: (t_sync before that was first seen) + W, frozen until a new version or a
//     clean record is seen. Found at start-up, before the first proof, it is nothing at all. An attempt that was ordered to kill the
//     token at once (forced) leaves nothing either; for an idempotent upstream only such attempts count here.
//
// A token is Active while the promise is positive, Suspect while only the nominal end is ahead, and Expired after that or when it is
// condemned: known to be dead. Versions never go back, and a version has one value: a record with a lower version (a store that was
// restored from a backup), or with the same and another value (a store that was emptied, and a leader that remembers nothing), is not
// adopted; a held token that rotates is then treated as in doubt, and the leader told to go above its version.
//
// # After a restore
//
// If the store went back in time (Rewind), its records may lack what it told of the version that this replica holds, or was about to
// tell: an attempt that was begun, a death. Then
//
//   - a value that was condemned stays dead, whatever records say, and the leader is told;
//   - a version that can be rotated away, or was unsettled, is in doubt until there is a higher one. It is promised until (t_sync before
//     that was noticed) + W, or as it was frozen already; the leader is told, and records doubt with a floor. The version that an idempotent
//     upstream issued is left alone: whatever was lost did not end its life, unless it was a forced attempt, that this replica did not see;
//   - who did not notice, because it was started since, has proved a record current that may be none. It promises nothing any more of a
//     version that it sees in doubt with a floor.
//
// # Local values
//
// Where a fetch ends nobody else's token, a replica that is cut off may have fetched alone (see package refresh). What it got is held
// like a record, under a version of its own making, until the store has a higher one; what is at or below it is refused. Its life counts
// from the write of its own request. It is in doubt from when the store tells of a forced attempt that may have come after it.
//
// # Restarts
//
// What a predecessor of this process held can be restored before the first load, values fetched alone included. It is worth what a late
// joiner reads from the store: lives by the wall clock less the skew, and nothing for a rotating upstream before the first proof.
//
// # Order of loads
//
// Read loads the proof before the record. The other way round it could pair a clean record with a proof that was made after a later
// record, with a pending attempt, was applied, and so promise W from a moment at which the token had been rotated away already.
package view
