// Package leader elects one of several candidates through etcd, and tells the winner for how long it may believe that it leads.
//
// This text is the specification; the code is to be read against it. Why not etcd's own package (client/v3/concurrency)? Because its
// campaign watches neither its own key nor its session, so that a candidate whose lease has died wakes up "elected"; its session
// counts from the arrival of an answer, and so reports its end up to a second after the key is gone; and its calls block for as long
// as etcd is away. The layout of keys is the same, so `etcdctl elect -l PREFIX` prints the leader, and `etcdctl elect PREFIX VALUE`
// takes part.
//
// # What is promised, and what is not
//
// The lead context of one term has ended before etcd lets the lease of that term run out, and so before another candidate can lead;
// this rests on clock rates that differ by less than Margin in a TTL, and on nobody deleting the key or revoking the lease by hand
// (then two may lead for the time that the news takes, see guard below). But between looking at a context and acting on it a process
// can be paused for any time. So no safety may hang on the context: every write that matters must be fenced, by comparing the create
// revision of Term.Key with Term.Revision in its own transaction, and what no transaction can fence needs a protocol of its own. The
// context is for economy and for quick hand-over.
//
// # Keys
//
//	PREFIX/<lease id in lower hex>  ->  {"id","address","since","labels"}
//
// Labels are names and values that the candidates' program tells of itself; this package only carries them. They are left out where
// there are none, and a reader that does not know them, an older program's included, passes them by.
//
// A candidate puts its key, on its own lease. The key with the smallest create revision leads; the others lead after it in the order
// of theirs. Any key under PREFIX counts, whoever put it. The create revision is the term: it never repeats, grows from leader to
// leader, and does not change when the leader puts its key again to proclaim itself.
//
// # States of an Elector
//
//	       +--------------------------- pause <------------------------------+
//	       v                                                                 |
//	  open session --> enter --> wait --> proclaim --> lead --> close session
//	       |             |        |          |           |           ^
//	       +-- error ----+--------+----------+           +-----------+
//	                                                   lead returned
//
//	open      Grant a lease; from now on keep-alives run, until the session is closed or its trust is lost.
//	enter     Put the key. Its create revision is the place in the queue.
//	wait      Read the election linearizably. Own key gone: over. Nobody ahead: go on. Else watch for the deletion of the own key or of
//	          the one ahead, from the revision that was read, then read again; also when the watch breaks, and after a TTL in any case,
//	          for a watch may be silent for reasons of its own. Only the key next ahead is waited for: no stampede.
//	proclaim  One transaction: IF the own key has the create revision of its entry AND no key under PREFIX has a smaller one, THEN put
//	          the key again with since = now. This is the proof of the win. What wait has read is only a hint, as old as the network
//	          pleases; and the transaction also needs the lease to live, for etcd puts no key on a dead one.
//	lead      Call lead, once, and wait until it returns, however long that takes. Beside it, guard watches the own key.
//	close     End the keep-alives and revoke the lease, which deletes the key: the next candidate leads at once.
//	pause     100 ms, doubled each time up to half a TTL, with jitter: neither a failing etcd nor a lead that returns at once makes this
//	          spin. After a round that lasted two TTLs it starts over. A leader that handed over is behind all who waited by then.
//
// From enter to the end of lead the round has a context that ends with Run's context or with the trust, whichever is first. Thus a
// candidate stops waiting, and a leader's context ends, with the same event. The session itself outlives Run's context: lead may have
// an outcome to settle, and nobody else shall lead meanwhile.
//
// # Trust
//
// A session is trusted until
//
//	the sending of the latest answered request  +  the TTL that the answer granted  -  Margin
//
// etcd renewed the lease some time between the sending and the answer, so that it cannot run out before that plus Margin:
//
//	        send            renewed                answer
//	leader ---o---------------.----------------------o------------------X (trust ends) . . . . . Margin
//	etcd   -------------------o------------------------------------------------------------------------|---> key deleted
//	          |<------------------------- TTL - Margin ---------------->|
//	                          |<------------------------------- TTL ---------------------------------->| + 0 to 0.5 s
//
// Counted from the answer, trust would end after the key, by as much as the answer was slow.
//
// The clock is the pessimistic one of package clock, read at least every twentieth of a TTL. If its era changes (the machine slept, or
// somebody set the time) trust is lost at once, because the time since the sending is no longer known. Trust that is lost never comes
// back: the session is closed and another one opened.
//
// A keep-alive is sent every quarter of a TTL whether or not the last was answered, each on a stream of its own, so that etcd members
// take turns and one that hangs costs nothing; after one that failed, the next follows in a twentieth. The TTL counts as etcd granted
// it. An answer that the lease is gone ends the trust.
//
// # Every call can be lost
//
//	Grant, no answer     A lease may be left behind. Nobody knows its id, nothing hangs on it: it expires.
//	Put, no answer       The key may stand, or come to stand later. The lease is revoked, with it goes the key, and a late Put is refused.
//	Proclaim, no answer  The same: the candidate gives up the lead that it may have won, and queues again.
//	Revoke, no answer    Repeated within its deadline, half a TTL; then the lease expires by itself.
//
// # Who dies where
//
//	before enter               Nobody has noticed.
//	waiting                    Its key goes with its lease; the one behind it reads again, and waits for the one ahead of both.
//	between wait and proclaim  Its key stands ahead of the others until its lease runs out.
//	leading                    The same: the next leader follows after TTL and up to 0.5 s.
//	winding down               The same.
//	between lead and close     The same.
//
// And who is cut off from etcd, or paused:
//
//	waiting                    Trust ends, the session is closed. Should it wake from a pause inside proclaim, the transaction fails its
//	                           comparisons if the key has gone meanwhile.
//	leading                    lead's context ends with ErrTrustLost. Keep-alives end too, so that another can follow; the key is left to
//	                           run out, and lead may use the fence as long as it stands. When lead has returned, the rest is revoked.
//	in the last words          Half a TTL, then Run returns; the key runs out by itself.
//
// An etcd that restarts or changes its leader gives every lease its full TTL anew. That only delays who follows.
//
// Guard: the key can go although its lease lives (somebody deletes it; an etcd leader that was stuck revokes leases too early). No
// keep-alive notices that. So the leader watches its own key like a waiting candidate the one ahead, and its trust ends with the key.
//
// # Observers
//
// An Observer reads the prefix and applies a watch to it; when the watch breaks, or history was compacted away, it reads again, and
// once in a TTL in any case. It says that there is no leader when there is none. What it shows is late by nature and is for people,
// metrics and routing hints. Whether this very candidate leads is known better: Leading says no from the moment on at which the trust
// is over, while its key may stand for a while yet.
package leader
