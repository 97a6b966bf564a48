package judge_test

import (
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// read is a linearizable read of the stable token's record.
func (s *scene) read(from, to float64, found *history.Stored) {
	s.add(history.Event{Kind: history.Read, Token: stable, Sent: seconds(from), Received: seconds(to), Stored: found})
}

func TestAReadMayFindWhatStoodWhileItWasUnderWay(t *testing.T) {
	t.Parallel()
	for _, read := range []struct {
		name     string
		from, to float64
		found    int // the record of 10, 11 or 12; 0 for none
		wrong    bool
	}{
		{"nothing, before there was anything", 9, 9.5, 0, false},
		{"nothing, when there was something", 10.5, 10.6, 0, true},
		{"the old one, as it was replaced", 10.9, 11.1, 10, false},
		{"the new one, as it came", 10.9, 11.1, 11, false},
		{"the old one, after it was replaced", 11.05, 11.1, 10, true},
		{"the new one, before it came", 10.2, 10.9, 11, true},
		{"the old one in a long read", 10.5, 30, 10, false},
	} {
		t.Run(read.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			stood := map[int]*history.Stored{
				10: s.begin(10, stable, "x").Stored, 11: s.commit(11, stable, "a").Stored, 12: s.begin(12, stable, "y").Stored,
			}
			s.read(read.from, read.to, stood[read.found])
			violated := 0
			if read.wrong {
				violated = 1
			}
			s.expect(t, "M", violated, 0)
		})
	}
}

func TestTwoReadsDoNotGoBack(t *testing.T) {
	t.Parallel()
	s := newScene()
	before := s.begin(10, stable, "x").Stored
	record := s.commit(11, stable, "a")
	record.Received = seconds(20) // the watch is slow
	s.read(11.1, 11.2, record.Stored)
	s.expect(t, "M", 0, 0)
	s.read(11.3, 11.4, before)
	s.expect(t, "M", 1, 0)
}

func TestAReadFindsWhatWasWritten(t *testing.T) {
	t.Parallel()
	s := newScene()
	forged := *s.begin(10, stable, "x").Stored
	s.commit(11, stable, "a")
	forged.Doubt = true
	s.read(10.5, 10.6, &forged)
	s.expect(t, "M", 1, 0)
}

func TestAReadThatIsNewerThanTheWatchIsNotJudged(t *testing.T) {
	t.Parallel()
	s := newScene()
	newer := *s.begin(10, stable, "x").Stored
	newer.Revision = 99
	s.read(20, 21, &newer)
	s.expect(t, "M", 0, 1)
}

func TestEachPartIsJudgedByItself(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.begin(1, stable, "x")
	for i := range 2000 {
		s.put(2+float64(i), stable, func(*history.Stored) {})
	}
	s.expect(t, "M", 0, 0)
	for _, i := range []int{100, 101, 3900} { // two of them in one part
		if e := &s.Events[i]; e.Kind == history.Record {
			e.Stored.Doubt = true
		} else {
			s.Events[i+1].Stored.Doubt = true
		}
	}
	s.expect(t, "M", 2, 0)
}

func TestWhatIsNotDecidedInTimeHasNotPassed(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.begin(1, stable, "x")
	for i := range 20_000 {
		s.put(2+float64(i), stable, func(*history.Stored) {})
	}
	s.Events = records(s.Events) // without reads there is no moment at which nothing is under way
	s.Patience = 1
	k := judge.Judge(s.Case).Check("M")
	if k.Passed() || !strings.Contains(k.Violations[0].What, "undecided") {
		t.Errorf("%+v", k)
	}
}

func records(events []history.Event) []history.Event {
	var kept []history.Event
	for _, e := range events {
		if e.Kind == history.Record {
			kept = append(kept, e)
		}
	}
	return kept
}
