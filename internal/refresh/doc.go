// Package refresh keeps a token alive: when to fetch (Policy), and how, so that a caller never holds a dead token whatever dies in
// between (Refresher). This page is the specification of the leader's side, and of a replica's that is cut off; package view specifies
// what a replica may promise, and package store how a write is fenced.
//
// # The trouble
//
// A rotating upstream (WeChat's classic endpoint) is an external side effect without a fence. Every fetch that it processes issues
// token k+1; token k lives only the overlap longer (300 s), and dies at once when k+2 is issued. The leader can die, be paused or be
// cut off between any two lines, and a fetch can be processed although its answer is lost.
//
// The main idea: an open intent buys a wait. Before a request is written, the store says so; and nobody writes another request until
// W after an intent that may have issued a token. In that time every promise on k runs out, or the outcome becomes known. Safety
// hangs on no lease's timing. With an idempotent upstream (WeChat stable, normal mode) a repeated fetch harms nothing: what is marked
// [rotating] falls away, and all else is the same code.
//
// # Words
//
// Term: one replica's time as leader, named by the create revision of its election key. Attempt: one fetch, named by a random id.
// Pending: an attempt whose outcome the store does not know. Doubt: the current token may have been rotated away; lasts until a
// commit. Drained: in doubt, and so long that no promise on the token is left. Condemned: known to be dead.
//
// The outcome of an attempt is *token*, *none* (for certain nothing was issued: a listed refusal, or not one byte was written) or
// *unknown* (all else: a time-out, a reset, a 5xx, an answer that makes no sense).
//
// W, G, P, D and F are the fields of token.Timing, with G + P + D < W < overlap.
//
// # A term
//
//	WIN       the elector has proved the term; read the record and its orphans linearizably
//	(wait)    until a fetch is due, the back-off is over, and [rotating] the quiet wait is over
//	BEGIN     one transaction: pending = this attempt, fetches today + 1; b0 = the time before it was sent.
//	          If an attempt was pending, or the token in doubt: doubt = drained = true
//	WRITE     the request, once, on a fresh connection, only if BEGIN is known to be done, the term is not known to be over, and
//	          now - b0 < G, looking at the clock immediately before. [rotating] Look again after: if now - b0 + D >= W the
//	          attempt is late
//	COMMIT    on token: version + 1 (unless it is the same token), nothing pending, no doubt, not drained, not condemned
//	ABORT     on none: nothing pending; doubt stays what it was
//	(open)    on unknown: pending stays. The failure is noted in the record, for people
//
// The intent and the record name the source that they are of (Traits.Source). When the configuration names another, the token is fetched
// anew, and the old value is served until the new one is there.
//
// Every transaction compares the create revision of the leader's own election key and the revision of the record. A transaction whose
// answer was lost is repeated and read back; a request is never written on an unknown BEGIN.
//
// A healthy token needs nothing after a change of leaders: no fetch on failover.
//
// # The quiet wait [rotating]
//
// No BEGIN before:
//
//   - W from the answer of this leader's last BEGIN, after a COMMIT too, since followers may still promise the predecessor;
//   - D after the write of a late request, when it has been processed or never will be;
//   - in a new term: W from the end of the first read; no wait only if no token was ever issued and nothing is pending or in doubt;
//   - where the token is drained: G + P + D instead of W. No promise is left to protect, only the order of requests;
//   - where it is condemned: the same, but never before W after the BEGIN of the attempt that brought it (in a new term: by wall clocks,
//     less the skew): followers may still promise its predecessor, which another fetch would kill;
//   - after ABORT: none.
//
// Within a term one run may follow another, because the configuration changed. The waits count from what the first has seen, if the
// account and the timing are the same (Follow), and the record is where it left it: an etcd that went back in time may number another
// term alike.
//
// # Losing the lead
//
// A deposed leader with an outcome in hand writes it as an orphan, unfenced, and repeats that until it is done, before it stands for
// election again (Run does not return earlier). An unknown outcome is worth an orphan only if it is late. The leader of the day reads
// orphans between attempts, and deletes each in the transaction that acts on it:
//
//   - late: doubt, and a new wait of W; a fetch ends the doubt;
//   - of the pending attempt, a token: COMMIT it. None: ABORT it;
//   - anything else is dropped.
//
// A leader whose term ends as wished (shutdown, resignation, hand-over) begins nothing new; an attempt that is not written is aborted;
// one in flight is awaited for at most F and settled; an unknown outcome stays pending, and the successor pays the wait.
//
// A leader that fails three times in a row to reach the upstream (dial, TLS, or its address refused), or whose address is blocked for a
// stated time, gives up the lead for another replica; what it was told to wait does not bind the successor. It notes that in the
// record, and a replica does so in vain once an hour at most, whichever token it is for: if nobody reaches the upstream, leadership
// comes to rest, and the quiet waits of other tokens come to their end. A commit takes the note out of the record, and so tells the
// replica when it leads once more that another could fetch the token: then it was not in vain.
//
// # Reports
//
// A report of invalidity counts only for the current version, and only after the upstream confirmed it where it can be asked. The
// version is then condemned: no replica hands it out. The next fetch skips the drain, since nothing is left to protect of it (see
// the quiet wait for its predecessor), but never the G + P + D for the order of requests; report-caused fetches keep 30 s apart and stay out of the budget's reserve. If an idempotent
// upstream answers with the condemned value, the next attempt is forced.
//
// If the policy wants it, the leader asks the upstream now and then by itself, as if somebody had reported the version: that it is dead
// condemns it, with all that follows; that it lives proves nothing, since another's attempt may be under way, and changes nothing. It
// asks only while the record is clean and the token not near its end, not within D of an attempt, and only if the answer is there before
// the next attempt is due. A value that dies without an attempt of this cluster's that may have ended it (nothing pending, no doubt), and
// before its nominal end, died early: the record counts that, once for each value, in the transaction that condemns it.
//
// A forced attempt (WeChat stable's force_refresh) is a rotation with no overlap: it serves only a condemned value or an operator's
// order. From its BEGIN on no replica promises the value; if its outcome is unknown the value is in doubt, as on a rotating upstream, and
// the next BEGIN waits G + P + D, since an ordinary answer in between would prove nothing. An operator's forced order names the version
// that is to be killed. It is done when the record says that a forced attempt brought a later one, and not by any other commit, since
// what an ordinary attempt replaces lives on for the overlap.
//
// # Sealing anew
//
// When the key changes by which the store seals values, the leader is asked to write the record of each token as it is:
//
//	RESEAL    what a read finds, once more, under the fence
//
// It is a write like any other, and the one that changes nothing: an attempt that is pending stays so, with its wait; nothing is fetched, and
// no replica sees anything new. It is done between attempts, never while one is under way. A record that the leader cannot open it
// cannot read either, and so neither writes nor fetches for: the term goes on, and the record is tried again now and then.
//
// # If the process dies
//
//	dies between                             the store shows             the next leader
//	before BEGIN's transaction               nothing                     has nothing to heal
//	BEGIN and the write                      pending                     waits, fetches: one fetch of budget is lost
//	the write and the answer                 pending                     the same; promises on k drain meanwhile
//	the answer and COMMIT                    pending                     the same: the token died with the process
//	COMMIT's sending and its answer          committed, or pending       does as the store shows
//	deposition and the orphan                pending of an older term    as between the write and the answer
//	(paused there, wakes deposed)            pending, then an orphan     adopts, aborts or doubts by the orphan
//
// # If the store loses data
//
// A record with a lower version than this replica has seen, or none, means that the store was restored or emptied. The leader raises
// the version to the highest that it has seen, with no value and in doubt, waits W [rotating], and fetches: versions never go back. A
// replica that holds a higher version than the leader knows reports it, and the leader moves what it has committed since above that. One that
// holds another value under the version of the record, because a leader that remembers nothing has used it anew, asks for a floor, as
// if it had fetched alone (see below); so a version keeps its one value at every replica.
//
// A record whose version did not go back may lack what the store knew of it: an attempt that may have ended the value's life, or that it
// is dead. Each replica that notices tells the leader (package view). Of a dead value, as a report. Of one that can be rotated away, or was
// in doubt, as a doubt:
//
//	DOUBT     doubt, not drained, and the version as floor, unless it is in doubt already, by the record as it is and not as the leader
//	          remembers it. Nothing pending: the token of an attempt from before what was lost may be dead, if an orphan brings it
//	(wait)    [rotating] W from the end of that write, for some replica may have promised the value until then; else G + P + D, for the
//	          order of requests; no ABORT ends that
//	(fetch)   brings a version above the floor, also if the value is the same
//
// So does a leader that finds, within its term, the record at an earlier revision than it wrote. A false alarm costs one fetch. Without any
// memory of what was lost, nothing can be noticed.
//
// # Alone
//
// A replica that has had no proof of freshness for 10 s, and whose token is missing or near its end, fetches for itself, if the upstream
// is idempotent: at most once a minute (or in a tenth of the token's longest life, if that is less), with jitter, never forced, within
// the reserve of the daily budget, each replica by its own count. It does so whoever leads, the leader included. On a rotating upstream
// it never does: there its promises run out, and at the nominal end the token is gone.
//
// What it brings is an overlay in memory (see package view): its life counts from the write of the request, and it is never written to
// the store. If it is the very value that the replica serves, that is all. Any other must have a version, since callers compare
// versions, and three things must hold of that. It is higher than what this replica served before. Nobody else calls another value by
// it. And what the store commits later is higher still. For the first two the replica makes it up from its clock: the last version plus
// the microseconds since that was issued. For the third:
//
//	FLOOR     once the store is back, the replica tells the leader its version. If the record's value is healthy and not near its
//	          end, the leader gives it the version after that one, and all is done: every replica comes to it. Else it writes the
//	          replica's version into the record as the floor, and changes nothing else
//	(fetch)   a floor makes an ordinary fetch due, under the ordinary back-off and budget
//	COMMIT    version = floor + 1 (also if the value is the same), no floor. The replica finds a version above its own, and drops the
//	          overlay. That commit's attempt was begun after the floor was written, and so after the replica's own fetch (or it is
//	          the orphan of an earlier one, whose value lives for its own stated life all the same)
//
// Until then the replica refuses what is committed at or below its own version, and goes on serving the overlay. So its callers
// never see a version go back; those of other replicas see one large step up. Several replicas that went alone each write a floor; the
// highest counts. A leader that dies between FLOOR and COMMIT leaves the floor to the next; one that never hears of it (the replica dies
// first) commits below it, which nobody can notice but a caller who held the version, and finds it lower at another replica: a replica's
// versions never go back, but between replicas they may while some are cut off.
//
// An overlay can die early only by a forced attempt that the replica did not hear of. If the record, when it is back, tells of one that
// was not surely over before the replica's own fetch (by wall clocks, less the skew), the overlay is in doubt until the COMMIT above.
// Until then, cut off, the replica promises it: an operator's order to kill tokens does not reach who cannot be reached.
//
// # Bounds
//
// The number of attempts is at most 1 + scheduled + lost answers + changes of leader + refusals + missed windows + late or confirmed
// reports + operators' orders + floors + doubts, one for each restore that a replica noticed before the last one was healed. Those that replicas make alone are bounded by the clock, and a day's by the budget's reserve for
// each replica. What the guarantees rest on (nobody else fetches; a written request is processed within D or never; no pause beyond P) is listed in
// docs/ARCHITECTURE.md.
package refresh
