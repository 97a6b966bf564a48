package token

import "time"

// Record is what the cluster durably knows about one token. The store keeps it under one key, with the value sealed; package
// refresh says which transitions are allowed. All times are wall times of the replica that led when they were written.
type Record struct {
	// Version grows by one with every new value; 0 means that there was none. It grows by more where a replica had to number a value of
	// its own: see Floor.
	Version int64
	// Source is the Traits.Source of the upstream that Value came from.
	Source string
	// Value is the current value. Zero with a positive Version only after the store lost data (see package refresh).
	Value Secret
	// IssuedAt is when the request that brought Value was written: no token is older than its request.
	IssuedAt time.Time
	// Life is how long the upstream said that Value lives, counted from IssuedAt.
	Life time.Duration

	// Pending is the attempt that was begun and whose outcome the store does not know. Nil if none.
	Pending *Intent
	// Doubt: Value may have been rotated away by an attempt whose outcome was never learned. Only a commit ends it.
	Doubt bool
	// Drained: in doubt for so long that no replica promises Value any more.
	Drained bool
	// Condemned: the upstream confirmed, or a report said and nobody could ask, that Value is dead before its time.
	Condemned bool

	// Resolved is the last attempt whose outcome was written.
	Resolved Resolution
	// RefreshedAt is when the last successful fetch was committed; schedules by interval and calendar count from it.
	RefreshedAt time.Time

	// Spent counts today's fetches against the daily budget.
	Spent Spending
	// LastFailure is the last failure that was written; it outlives a later success. Its Remedy does not, but where the failure is about
	// one replica's place and another one succeeded. Zero if there was none.
	LastFailure Failure
	// Failures counts the failed attempts since the last commit.
	Failures int

	// ForcedVersion is the version that the last forced attempt brought; every one before it was killed. 0 if there was none.
	ForcedVersion int64

	// Floor is the highest version under which a replica served a value that it fetched alone, while it was cut off from the store; the
	// next commit goes above it, so that no caller sees a version go back. 0 if none, and again after that commit. Version itself, with
	// Doubt, if the store went back in time and may have lost what became of it.
	Floor int64
	// EarlyDeaths is how often a current value was found dead before its time: somebody else fetches for the same account.
	EarlyDeaths EarlyDeaths

	// HandedOver says which replicas gave up the lead because they could not reach the upstream for this token, and when. A
	// replica that is listed does not do so again for a while, so that leadership comes to rest. Emptied by a commit.
	HandedOver map[string]time.Time

	// Unknown is what a newer program keeps in the record and this one knows nothing of, in a form that only the store reads. Whoever
	// changes the record leaves it as it is; and since nobody here can tell whether it is secret, it is.
	Unknown Secret
}

// Intent announces one attempt before its request is written.
type Intent struct {
	// Attempt is the attempt's random id.
	Attempt string
	// Term is the term of the leader that began it: the create revision of its election key.
	Term int64
	// Source is the Traits.Source of the upstream that it asks.
	Source string
	// At is when it was begun.
	At time.Time
	// Forced: the attempt asks the upstream to kill the current value at once.
	Forced bool
}

// Resolution is the outcome of an attempt.
type Resolution struct {
	Attempt string
	Outcome Outcome
}

// EarlyDeaths counts values that died before their time.
type EarlyDeaths struct {
	// Count is how many since the record was made.
	Count int64
	// Last is when the last one was found. Zero if there was none.
	Last time.Time
}

// Spending counts the fetches of one day, by the upstream's calendar.
type Spending struct {
	// Day is the date in the upstream's time zone, as 2006-01-02.
	Day string
	// Fetches is the number of attempts that may have been counted by the upstream.
	Fetches int64
	// Forced is how many of them asked to kill the current value.
	Forced int64
	// ForcedAt is when the last of those was begun; it survives midnight.
	ForcedAt time.Time
}

// On returns what counts on the day of wall by the upstream's calendar: a new day begins with nothing.
func (s Spending) On(wall time.Time, calendar *time.Location) Spending {
	if day := wall.In(calendar).Format(time.DateOnly); day > s.Day { // never back to an earlier day, by a clock that is behind
		return Spending{Day: day, ForcedAt: s.ForcedAt}
	}
	return s
}

// DayEnds returns the next midnight by the upstream's calendar, when a budget begins anew.
func DayEnds(wall time.Time, calendar *time.Location) time.Time {
	local := wall.In(calendar)
	return time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, calendar)
}

// Clean reports whether no attempt is unsettled: nothing is pending and nothing is in doubt.
func (r Record) Clean() bool { return r.Pending == nil && !r.Doubt }

// Issued reports whether any token may ever have been issued, as far as the store knows.
func (r Record) Issued() bool { return r.Version > 0 || !r.Clean() }

// Orphan is the outcome of an attempt whose leader was deposed before it could write it: a message to whoever leads now.
type Orphan struct {
	// Attempt is the attempt's id.
	Attempt string
	// Outcome is what the deposed leader learned; OutcomeUnknown only together with Late.
	Outcome Outcome
	// Late: the request was written so late that the upstream may have processed it after a later attempt's.
	Late bool
	// Value, IssuedAt and Life are set when Outcome is OutcomeToken.
	Value    Secret
	IssuedAt time.Time
	Life     time.Duration
}
