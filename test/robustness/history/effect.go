package history

// Codes of a Fault: what it does to the replica that it names, or to all of them if it names none. The judgement goes by them: who was
// cut off, who stood still and whose clock was wrong decides what could be promised. What the fault is called, and what it does
// exactly, is in Reason and Detail. A fault that does two of these is two events. One that is never healed ends with the run.
const (
	// EffectKilled: the suite ends the process, and starts it again before Received.
	EffectKilled = "killed"
	// EffectPaused: the process stands still.
	EffectPaused = "paused"
	// EffectHeld: a part of the process stands still, at a failpoint; it answers nevertheless.
	EffectHeld = "held"
	// EffectCut: etcd cannot be reached, in one direction or both, is slow, or in disorder. What is written there may not be heard of.
	EffectCut = "cut"
	// EffectVanished: callers cannot reach it; what they have sent, and what it has answered, may arrive late.
	EffectVanished = "vanished"
	// EffectSkewed: the wall clock is wrong by more than the protocol tolerates, or jumps.
	EffectSkewed = "skewed"
	// EffectUpstream: WeChat refuses, hides or delays answers. What it issues is in the record of what it issued.
	EffectUpstream = "upstream"
	// EffectNone: nothing of the above, such as a change of etcd's leader that nobody should notice.
	EffectNone = "none"
)

// Codes of a Process.
const (
	// ProcessStarted: launched between Sent and Received; it listens a little later.
	ProcessStarted = "started"
	// ProcessEnded: on its way to its end from Sent on, gone at Received.
	ProcessEnded = "ended"
)
