package site_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

func TestAPanicAtAFailpointIsNoFaultOfTheRun(t *testing.T) {
	t.Parallel()
	s, h := start(t)
	if err := s.Brokers[0].Failpoint(t.Context(), "refreshBeforeBegin", "nonsense"); err == nil {
		t.Error("a failpoint was set to nonsense")
	}
	for _, b := range s.Brokers {
		if err := b.Failpoint(t.Context(), "refreshBeforeBegin", "panic"); err != nil {
			t.Fatal(err)
		}
	}
	_ = refresh(t, s.Brokers[0], true) // nobody lives to take the order
	var b *site.Broker
	eventually(t, "the leader has ended", func(context.Context) bool {
		i := slices.IndexFunc(s.Brokers, func(b *site.Broker) bool { return !b.Running() })
		b = s.Brokers[max(i, 0)]
		return i >= 0
	})
	if diff := cmp.Diff([]string{"started", "ended panicked at a failpoint"}, lives(h, b.ID)); diff != "" {
		t.Errorf("the broker's lives (-want +got):\n%s", diff)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := b.FailpointCount(t.Context(), "refreshBeforeBegin"); n != 0 || err != nil {
		t.Errorf("in a new life a failpoint counts %d, error %v", n, err)
	}
}

func TestAFailpointCountsUntilItIsTurnedOff(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	const everySecond = "storeBeforeSynced"
	b := s.Brokers[0]
	if err := b.Failpoint(t.Context(), everySecond, "sleep(1)"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failpoint strikes", func(ctx context.Context) bool {
		n, err := b.FailpointCount(ctx, everySecond)
		return err == nil && n > 0
	})
	if err := b.Failpoint(t.Context(), everySecond, ""); err != nil {
		t.Fatal(err)
	}
	if n, err := b.FailpointCount(t.Context(), everySecond); n != 0 || err != nil {
		t.Errorf("turned off, it has struck %d times, error %v", n, err)
	}
	if err := b.Failpoint(t.Context(), everySecond, ""); err != nil {
		t.Errorf("turning it off again: %v", err)
	}
}

func TestALeaderWhoseClockJumpsLosesTheLead(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	b := leader(t, s)
	if err := b.SetClock(10 * time.Minute); err != nil {
		t.Fatal(err)
	}
	leader(t, s, b)
}
