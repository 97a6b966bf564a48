// Package store is the cluster's memory in etcd, and how one replica reads and changes it. This page is the specification of the
// keyspace.
//
// # Keys, below the namespace ("/tokenbroker/" by default)
//
//	token/<name>                   one record a token, JSON, the value sealed (see below). No lease: a lease
//	                               would take the version with it when it expires, and every change of etcd's own leader gives
//	                               leases their full life again
//	head                           put by every transaction that changes any token record, so that its mod revision is the revision of
//	                               the last change
//	orphan/<name>/<attempt>        an outcome that a deposed leader could not write; on a lease of an hour
//	request/<kind>/<name>/<version>  what a replica asks of the leader (report, refresh, floor, doubt, reseal, resign), later with the
//	                               reply in it; on a lease of minutes. A forced refresh is a kind of its own; a resignation has no name,
//	                               and the term as version; a reseal has the id of the key as version
//	election/<lease>               the candidates, laid out as etcd's own concurrency package does; owned by package leader
//
// # Writes
//
// A Ledger writes one token's record under the fence of one term. Every write is one transaction that compares the create revision
// of the term's election key and the mod revision of the record. The first makes a deposed leader's write fail; the second makes a
// write that was delayed on the way fail once anything newer was written, the same leader's own writes included.
//
// etcd's client sends a transaction at most once, so a time-out means that the outcome is unknown. Each write carries a random id in
// the record. A write whose answer was lost is repeated unchanged; if the repetition is refused, and the record that it finds carries
// the id, then the first try did it.
//
// # The feed
//
// Run keeps the view current: one watch over the whole namespace, applied revision by revision, which may lag or be silent; and each
// second one linearizable read of head. If the view has applied the revision which that read found, the read's send time becomes
// t_sync, the proof on which promises rest (see package view). If the watch does not deliver it in time, everything is read anew. A
// compacted or broken watch is replaced after a load; RequestProgress is not used, since it tells a member's local revision.
//
// If etcd dies, Run goes on trying and the view keeps what it has. If etcd comes back with older data (a restored backup), the feed
// takes it in, the view refuses lower versions, and the replica reports the versions that it holds, so that the leader goes on above
// them. Of the versions that did not go back nobody can be sure: what could be rotated away is in doubt (package view), and the replica
// tells the leader that, too.
//
// That etcd went back is told by its revision or, where that is ahead by now or was raised in the restore, by that of head or by how
// often head has been put. It is noticed by whoever saw or wrote what was lost, and by a restart with a snapshot that did; not by who
// remembers nothing, nor if as much was written since as had been lost before this replica looked. From then until everything has been
// read anew nothing that the watch tells is applied, and no freshness is proved. What was asked before that and is answered after it
// tells nothing, or one restore would be noticed twice, and put in doubt what has been fetched since.
//
// In the same way the replica tells the leader of the versions under which it serves what the store does not have: what it fetched alone
// (see package refresh), and what it held under a version that an emptied store gave to another value.
//
// # Values at rest
//
// The values of records and orphans stand in etcd as the Sealer makes them, which gets the key along: what is moved to another key does not
// open. All else is readable, and not protected against who can write to etcd. A copy of a record that is kept elsewhere (package snapshot)
// is sealed for another place than the record, so that neither can be put in place of the other.
//
// A record whose value does not open is like one of a newer program: the replica goes on with the token that it holds as if in doubt, and its
// leader neither fetches for it nor writes it. An orphan that does not open is taken for the worst, a request that was written late, which
// costs a fetch. Survey looks at every value, for who starts, and for who replaces keys.
//
// A key is replaced by writing what it has sealed anew. Any write does that; where none is due, an operator's request (reseal) makes the
// leader write the record as it is, under its fence like every other write.
//
// # Requests
//
// Any replica may Ask. Two requests of the same kind, name, version and force share one key, so a flood of reports becomes one write and
// later reads from memory. The leader answers in place; the reply stays for 5 to 30 seconds and answers whoever asks the same.
//
// # Two versions of the program
//
// Replicas are replaced one after the other, and an update may be taken back. So an older program reads, and as leader rewrites, what a
// newer one wrote:
//
//   - A new member of a record stands at its top level. A program that does not know it carries it along, unread, in every write
//     (token.Record.Unknown). Because the known members move on without it, such a member says itself which version or attempt it
//     speaks of, if it speaks of one; and its absence means "as before".
//   - The objects inside a record (pending, spent, last_failure and so on) get no new members: whoever changes one writes it whole.
//   - Requests, replies and orphans may get new members; an older program does not see them. Names never differ in case only, which
//     encoding/json would not tell apart there.
//   - A leader answers a request of a kind that it does not know with VerdictFailed. A new verdict answers new kinds only.
//   - What an older program would misread raises schema. No older program guesses at such a record or overwrites it: its replica goes
//     on with the token that it holds as if in doubt, and its leader fetches nothing for it. So a release reads a schema before any
//     release writes it.
package store
