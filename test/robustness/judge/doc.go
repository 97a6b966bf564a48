// Package judge judges a history: what callers, the suite's own eyes on etcd, and the simulated WeChat saw during a run. It never asks
// the broker. This page says what each check claims, from which moments it counts, and what it leaves out. What is left out is counted
// by its cause and listed, never passed over; a check that had nothing to judge has not passed.
//
// # Time
//
// All times are on the one clock of the suite's process, in which WeChat lives too. An answer was given at some moment between Sent and
// Received. A write of a record happened before the suite's watch told of it, and before the answer to any read that found it or a later
// one; and after the sending of any read that found an earlier one. All that follows is claimed only where it holds for every
// moment within these bounds.
//
// What a replica must know of etcd: it knows what was there at a moment if after it, and since its process was launched, it was in
// contact for 5 s without a break (hearTime). Contact is broken by faults of the effects killed, paused and cut, and for a moment by a clock
// that jumps.
//
// # S1: an active token is alive for its ttl
//
// For every active answer to GetToken and ReportInvalidToken and every message of WatchToken: WeChat issued the value for this token, not
// after Received, and it lives until the anchor + ttl at least. Callers are told to count from the sending of their call, so that is
// the anchor. A message of a stream has no sending of its own. Counted from Received the claim would be too strong: the server made the
// promise before, and the message may have been under way for long. Counted from the opening of the stream it would be true, and say
// nothing, for the stream may be older than the token. The server spoke of the value after WeChat had issued it, and after it had sent
// the stream's message before; so the anchor is the latest of the stream's opening, the value's issue, and the anchor of
// the message before. It is exact for the message that tells of a new token. Renewed promises on an old one are judged in GetToken.
//
// Of all answers, lists and status included: an active one promises more than nothing and at most W (rotating) or WeChat's
// longest life; a suspect one promises nothing; an expired one neither promises nor has a value.
//
// Left out is a promise that was broken because
//
//   - somebody else fetched, and so rotated or killed the token (A1 of the assumptions);
//   - the suite had WeChat kill it;
//   - a forced refresh killed it, which is its purpose;
//     these three only while the replica may have believed in the token: if each record that can have been the newest that
//     it knew (from what it must have known at the anchor to what was there at Received) has another value, is condemned, or
//     announces a forced attempt, then it knew better. An answer that a replica gave although it must have heard of a forced
//     attempt's BEGIN is a violation. A value that the replica fetched alone is not the record's: there, only a later commit, or a
//     forced attempt that was begun so late that it may have come after it, tells better;
//   - the request that rotated it away was written after its replica had stood still for more than P (A3): a pause or a held failpoint
//     of that length ended less than D + G before the issue. If another replica led by then, an orphan tells of it: only promises
//     are left out that end within W after everybody must have heard of that (see late.go);
//   - a wall clock was wrong (A4), for a token that died of old age, at a replica that had to count by wall clocks: its process was
//     not in contact from before the attempt until after its commit.
//
// # S2: versions
//
// At one replica no answer, of whatever call and to whomever, has a lower version than one that had come before it was sent; within a
// stream the order of messages counts. This holds over restarts. Left out is a replica that has been launched and not yet been in
// contact: it may know less than its predecessor; and a version of its own that a process took with it when it ended.
//
// A version of a token has one value in all answers and records. It stood in etcd, unless the answer says that it is local; never so on a
// rotating token. A value has one version, and beside it only local ones, and those that were raised above a local one.
//
// # M: etcd's side
//
// porcupine decides, token by token, whether all writes and reads of the record can have happened one after another within their bounds,
// each read finding what stood there, and each write being a step of the protocol from what it replaced: BEGIN, COMMIT, ABORT, the note
// of a failure, doubt, condemnation, a floor, a version above one that a replica made up; see step.go. The history begins with an empty record. A part for which no order is
// found in time is undecided, and that is a violation.
//
// # A1: availability
//
// GetToken without min_ttl never fails at a replica that holds a living token: the newest that its process had answered or must have
// heard of. Living: until WeChat's stated end, less what the replica may count it shorter by (the time to hear, the time a fetch takes,
// and for one that counts by wall clocks the tolerated skew), and not dead before. Left out: the caller went away; the process was
// down, or stood still, or could not be reached, or its callers' connections were on their way back from that; a clock jumped. A process
// that ends although the suite did not end it is a violation.
//
// # A2: recovery
//
// From some moment after the end of the last fault, and within Case.RecoverWithin, every call at every replica for every token brings
// an active one, to the end. Left out are calls while a dead token is being replaced or a forced refresh is under way, for at most as long.
//
// # Q1: fetches
//
// Each attempt has a cause: no token yet, an attempt that was never settled (a lost answer, a change of leaders, a late one), a token known
// to be dead, a replica that fetched alone, a token that nears its end, or an order, each of which serves one attempt, and one of each
// later leader. That sums up to the protocol's bound on the number of attempts. After an attempt that may have issued a token the next
// one keeps W, or the time that the order of requests needs. No attempt is beyond the daily budget as the record counts it, which M watches. And what
// WeChat issued to the brokers is matched one to one with attempts: one that was committed with its own, any other with one
// that was never settled and can have issued it, or with a replica that was cut off from etcd and may have fetched alone.
//
// A request that was written late, beyond A3, may break a promise, but it must be heeded: once its replica has been in contact with etcd for
// long enough to tell, and then a leader to act, the token is in doubt, or one is there that was issued later.
//
// # L: leadership
//
// The terms of successive writes of all records never go back, and each write is of the term that led then: that of the oldest key, which
// had proclaimed itself. No other key is proclaimed, and the term grows from leader to leader.
//
// # H: the history itself
//
// All kinds, codes, replicas and tokens are known. What the judge does not understand it must not overlook.
package judge
