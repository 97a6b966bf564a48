// Package build builds the programs that a robustness run tests: etcd as this module pins it, and the broker in three forms.
//
//	production   Variant{}             what users get
//	test build   Variant{Test: true}   the same, with failpoints, and a wall clock that can be bent
//	mutant       Variant{Mutant: m}    a test build with one mechanism taken out
//
// No file of the source is touched: what differs is handed to the compiler with go build -overlay.
//
// # The test build
//
// The wall clock is wrong by what the file says that the environment variable TOKENBROKER_CLOCK_FILE names: a time.Duration, such as
// -10m0s. It is read anew every 50 ms, and no file is no offset. Anything else in it ends the process, so that it must be replaced in
// one step. Every clock that goes through internal/clock is bent, and no other.
//
// In the source a failpoint is a comment, "gofail: var refreshBeforeBegin struct{}" after two slashes, and so it is in production. The
// test build makes code of it (go.etcd.io/gofail). The comment stands before the statement at which the process is to be struck. A
// comment line right below it is code that runs when the terms are "return"; where there is none, the process then stops itself with
// SIGSTOP. Names are unique in the whole broker, and begin with the package's.
//
//	refreshBeforeFirstRead  a term is won, nothing is read yet
//	refreshBeforeBegin      the time of the attempt is noted, BEGIN is not sent
//	refreshAfterBegin       BEGIN is done, the clock not looked at again
//	refreshBeforeWrite      the last look at the clock allowed the request, nothing is written
//	refreshAfterWrite       the request is written, the answer not read
//	refreshBeforeCommit     a token came, COMMIT is not sent
//	refreshAfterCommit      COMMIT is done
//	refreshBeforeAbort      nothing was issued, ABORT is not sent
//	refreshBeforeHandOver   the same, and the lead is to be given up
//	refreshAfterHandOver    ABORT is done, the lead still held
//	refreshBeforeOrphan     deposed with an outcome in hand
//	storeAnswerLost         a write's transaction was answered. "return" makes the writer see a time-out in place of the answer
//	storeBeforeLeave        an orphan is about to be put
//	storeBeforeApply        a load was answered, and is not in the view
//	storeBeforeSynced       the view has what a proof of freshness saw, the proof does not count yet
//	leaderBeforeProclaim    nobody is ahead in the election, the win is not proved
//	leaderAfterProclaim     the win is proved, lead not called
//	leaderBeforeRevoke      lead has returned, or the candidate has given up; its key stands
//
// With GOFAIL_HTTP=host:port in its environment the process lets them be armed: PUT /NAME with the terms as body, DELETE /NAME, and GET
// /NAME/count for how often the terms came into effect since. It listens a moment before it knows its failpoints, and then answers
// 400 or 404. GOFAIL_FAILPOINTS=NAME=TERMS arms one from the start.
//
// # How to strike at a failpoint
//
// "return" stops the process in the very thread that came there, before it does anything else. SIGCONT makes it go on there, SIGKILL
// leaves it dead there. It is the only way to stand still between two lines: one who sleeps at a failpoint when the process is stopped
// wakes together with every timer that has run out meanwhile, and a connection whose deadline is over is closed before a request can be
// written late. While it stands still, the process does not answer about its failpoints; "1*return" stops it once.
//
// "panic" ends the process with exit status 2 and a stack trace on standard error: between the failpoints and their goroutines' ends
// nothing recovers. But the deferred calls of that one goroutine still run. At the points of refresh and store they cancel contexts and
// release locks, which no other process sees. At leaderBeforeProclaim and leaderAfterProclaim one of them closes the session: the lease
// is revoked, and the next candidate leads at once.
//
// "sleep(2000)" holds the one goroutine for so many milliseconds. What gofail does not say: all who come to one failpoint of a process,
// whichever token they are about, wait for who sleeps there; after "sleep" they then sleep themselves, one after the other, after
// "1*sleep" they go on. To disarm wakes nobody. The count can be read while somebody sleeps, and is gone once the failpoint is
// disarmed.
//
// # Mutants
//
// A suite that has never failed proves nothing. Each Mutant is the broker without one mechanism of the protocol, and says which fault
// must come for it to be missed, and which check then shows it. An edit is a text and its replacement; a text that is no longer
// there, because the source was changed, is an error, and fails this package's tests.
package build
