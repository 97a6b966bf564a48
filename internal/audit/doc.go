// Package audit keeps a log of who had or did what: JSON, a line for each record, appended to a file or to standard output. It records what it
// is told and decides nothing.
//
// # Lines
//
//	{"time":"2026-11-22T09:06:11.000273Z","replica":"a","phase":"done","who":["spiffe://example.org/shop"],"method":"/tokenbroker.v1.TokenBrokerService/GetToken",
//	 "verb":"get","token":"shop","version":7,"decision":"allow","rule":"policy[0]","code":"OK","peer":"10.0.0.7:41822","trace":"4bf92f3577b34da6a3ce929d0e0e4736"}
//
// A line is one write's worth of printable ASCII: whatever a caller puts into a name is escaped, so that it can neither begin a line nor
// change what a terminal shows, and is cut where it is longer than its kind may be, with a hash of the whole behind the cut. No line is
// longer than MaxLine. A record has no field for a token's value or a caller's credentials.
//
// # What blocks, and for how long
//
// Append hands its line to the goroutine of Run, which writes all lines that came meanwhile at once, and waits until that is done: for as long
// as a write into the page cache takes. No fsync is made, so a crash of the machine, not of the process, may cost the last seconds.
//
// A disk that hangs holds up a caller for Config.Patience at most, and only the first ones: once somebody has waited in vain nobody waits
// again before the write is over. With Config.Refuse Append fails then, and does not queue the line; a line of somebody who has waited in vain may still be
// written, so the log may tell of an answer that did not leave, but never conceals one that did. Without Refuse lines go on being queued, up to
// maxQueue, and are lost beyond that.
//
// # When it cannot be written
//
// A write that fails (a full disk) loses its lines. With Refuse, Append returns ErrUnrecorded for each of them. The failure is logged once, and shows in
// tokenbroker_audit_failing until a write succeeds, which is tried with each line and every second. The first line after it says how many were lost:
// {"phase":"lost","lost":12,...}. Half a line that a full disk left behind is ended first, also if an earlier process left it.
//
// # Rotation
//
// Reopen has the file opened anew before the next line; so does a look each second that finds another file, or none, under its name.
// What was queued before may still go to the old one; no line is lost or cut by it. If the new file cannot be opened the old one is
// kept, tokenbroker_audit_failing is 1, and it is tried again every second.
package audit
