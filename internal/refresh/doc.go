// Package refresh keeps a token alive: when to fetch (Policy), and how, so that a caller never holds a dead token whatever dies in
// between (Refresher). This page is the specification of the leader's side; package view specifies what a replica may promise, and
// package store how a write is fenced.
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
//   - after ABORT: none.
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
// record, and a replica does so once an hour at most, whichever token it is for: if nobody reaches the upstream, leadership comes to
// rest, and the quiet waits of other tokens come to their end.
//
// # Reports
//
// A report of invalidity counts only for the current version, and only after the upstream confirmed it where it can be asked. The
// version is then condemned: no replica hands it out. The next fetch skips the drain, since nothing is left to protect, but never the
// G + P + D for the order of requests; report-caused fetches keep 30 s apart and stay out of the budget's reserve. If an idempotent
// upstream answers with the condemned value, the next attempt is forced.
//
// A forced attempt (WeChat stable's force_refresh) is a rotation with no overlap: it serves only a condemned value or an operator's
// order. From its BEGIN on no replica promises the value; if its outcome is unknown the value is in doubt, as on a rotating upstream, and
// the next BEGIN waits G + P + D, since an ordinary answer in between would prove nothing.
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
// the version to the highest that it has seen, with no value and in doubt, waits W, and fetches: versions never go back. A replica
// that holds a higher version than the leader knows reports it, and the leader moves what it has committed since above that.
//
// # Bounds
//
// The number of attempts is at most 1 + scheduled + lost answers + changes of leader + refusals + missed windows + late or confirmed
// reports. What the guarantees rest on (nobody else fetches; a written request is processed within D or never; no pause beyond P)
// is listed in docs/ARCHITECTURE.md.
package refresh
