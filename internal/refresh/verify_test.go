package refresh_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// interval is how often tokens are asked for in these tests.
const interval = time.Minute

func playVerified(t *testing.T, name string, body func(s *scene)) {
	t.Helper()
	playWith(t, simSpec{name: name, policy: refresh.Policy{Verify: interval}}, body)
}

// foreign lets another system fetch so often.
func (s *scene) foreign(times int) {
	s.t.Helper()
	endpoint := wechattest.Stable
	if s.up.judge.rotates(s.name) {
		endpoint = wechattest.Classic
	}
	s.up.judge.excuse(s.record().Value.Reveal())
	for range times {
		if _, err := s.up.judge.wechat.ForeignFetch(s.name, endpoint); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestAForeignFetchIsNoticedWithinTheInterval(t *testing.T) {
	for _, c := range []struct {
		what, token string
		fetches     int
	}{
		{"a rotation, which the token outlives by the overlap", classic, 1},
		{"two rotations, which end it at once", classic, 2},
		{"a forced refresh", stable, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			playVerified(t, c.token, func(s *scene) {
				time.Sleep(10*time.Minute + 17*time.Second)
				old := s.record().Value.Reveal()
				s.foreign(c.fetches)
				s.until("the token is dead", s.up.judge.overlap, func() bool { return !s.up.judge.aliveAt(old, time.Now()) })
				died := time.Now()
				s.until("a new token is served", interval+5*time.Second, func() bool { return s.record().Version == 2 && s.allActive() })
				if deaths := s.record().EarlyDeaths; deaths.Count != 1 || deaths.Last.Before(died) || deaths.Last.After(time.Now()) {
					t.Errorf("early deaths are %+v, want one since %v", deaths, died)
				}
				time.Sleep(time.Hour)
				if rec := s.record(); rec.Version != 2 || rec.EarlyDeaths.Count != 1 || len(s.begins()) != 2 {
					t.Errorf("an hour later version %d, %d early deaths, %d attempts; want 2, 1, 2", rec.Version, rec.EarlyDeaths.Count, len(s.begins()))
				}
			})
		})
	}
}

func TestALivingTokenIsAskedForAndLeftAlone(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			playVerified(t, name, func(s *scene) {
				before := s.etcd.read(name).Revision
				time.Sleep(time.Hour)
				if after := s.etcd.read(name).Revision; after != before {
					t.Errorf("the record was changed: %+v", s.record())
				}
				if n := len(s.up.probed(name)); n < 58 || n > 60 {
					t.Errorf("asked %d times within an hour, want once a minute", n)
				}
			})
		})
	}
}

func TestWithoutAnIntervalNobodyAsks(t *testing.T) {
	play(t, classic, func(s *scene) {
		time.Sleep(time.Hour)
		if n := len(s.up.probed(classic)); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestProbesThatHangHoldUpNoFetch: each takes F, and the last is over before the fetch is due.
func TestProbesThatHangHoldUpNoFetch(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			playVerified(t, name, func(s *scene) {
				s.up.probe(func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				})
				s.due() // 5 s before it is
				due := time.Now().Add(5 * time.Second)
				s.until("the next version", 20*time.Minute, func() bool { return s.record().Version == 2 })
				late := s.begins()[1].Sub(due)
				if late < 0 || late > time.Second {
					t.Errorf("the fetch was begun %v after it was due", late)
				}
				if n := len(s.up.probed(name)); n < 50 {
					t.Errorf("asked only %d times", n)
				}
				start := time.Now()
				s.report(1)
				if took := time.Since(start); took > s.timing.F {
					t.Errorf("a call waited %v, more than one probe", took)
				}
			})
		})
	}
}

func TestNothingIsAskedOfAnUnsettledTokenNorRightAfterAnAttempt(t *testing.T) {
	playVerified(t, classic, func(s *scene) {
		time.Sleep(30 * time.Minute)
		s.setFaults(func(f *faults) { f.fetch.lost = 1 })
		s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		lost := time.Now()
		time.Sleep(3 * time.Minute)
		s.setFaults(func(f *faults) { f.fetch.lost = 0 })
		s.until("the next attempt settles it", 20*time.Minute, func() bool { return s.record().Version == 2 && s.record().Clean() })
		begins := s.begins()
		last := begins[len(begins)-1]
		time.Sleep(30 * time.Minute)
		asked := 0
		for _, at := range s.up.probed(classic) {
			if at.After(lost) && at.Before(last.Add(s.timing.D)) {
				t.Errorf("asked %v after the answer was lost; the attempt that settled it was begun after %v", at.Sub(lost), last.Sub(lost))
			}
			if at.After(last) {
				asked++
			}
		}
		if asked < 25 {
			t.Errorf("asked only %d times within half an hour afterwards", asked)
		}
	})
}

func TestAProbeThatFailsChangesNothingAndIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge(t)
		c := newCluster(t, 1, 1, newUpstream(j), simSpec{name: stable, policy: refresh.Policy{Verify: interval}, timing: token.TimingFor(j.overlap)})
		defer c.close()
		var log logtest.Buffer
		c.log = slog.New(slog.NewTextHandler(&log, nil))
		c.start(0)
		time.Sleep(10 * time.Minute)
		before := c.etcd.read(stable).Revision
		c.up.probe(func(context.Context) error { return errors.New("no route") })
		time.Sleep(30 * time.Minute)
		if after := c.etcd.read(stable); after.Revision != before {
			t.Errorf("the record was changed: %+v", after.Record)
		}
		if n := strings.Count(log.String(), "asking the upstream whether the token lives failed"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log.String())
		}
		asked := len(c.up.probed(stable))
		if asked < 35 {
			t.Errorf("asked only %d times", asked)
		}

		// The vendor's own wish is heeded.
		c.up.probe(func(context.Context) error {
			return &token.Failure{Class: token.DailyQuota, Code: "45009", RetryAfter: 20 * time.Minute}
		})
		time.Sleep(30 * time.Minute)
		if n := len(c.up.probed(stable)) - asked; n != 2 {
			t.Errorf("asked %d times within 30 min, want 2: it said to come back in 20", n)
		}
	})
}

func TestADeathIsCountedAndLoggedOnceHoweverOftenItIsFound(t *testing.T) {
	playVerified(t, classic, func(s *scene) {
		time.Sleep(20 * time.Second) // too early for the next fetch, so that reports go on
		s.foreign(2)
		for range 20 {
			s.report(1)
			time.Sleep(time.Second)
		}
		s.until("a new token", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if n := s.record().EarlyDeaths.Count; n != 1 {
			t.Errorf("%d early deaths, want 1", n)
		}
		time.Sleep(20 * time.Minute)
		s.foreign(2)
		s.until("another token", 10*time.Minute, func() bool { return s.record().Version == 3 && s.allActive() })
		if n := s.record().EarlyDeaths.Count; n != 2 {
			t.Errorf("%d early deaths, want 2", n)
		}
	})
}

func TestWhatTheClusterItselfEndedIsNoEarlyDeath(t *testing.T) {
	for _, c := range []struct {
		what, token string
		end         func(s *scene)
	}{
		{"a forced attempt whose answer was lost", stable, func(s *scene) {
			s.setFaults(func(f *faults) { f.fetch.lost = 1 })
			s.up.judge.forget(s.record().Value.Reveal()) // the order itself betrays those who hold it
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1, Force: true})
		}},
		{"two rotations whose answers were lost", classic, func(s *scene) {
			s.setFaults(func(f *faults) { f.fetch.lost = 1 })
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		}},
		{"its nominal end", classic, func(s *scene) {
			s.up.regime(true, nil)
			time.Sleep(s.up.judge.life - time.Since(s.record().IssuedAt) + 5*time.Second)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			playVerified(t, c.token, func(s *scene) {
				time.Sleep(10 * time.Minute)
				old := s.record().Value.Reveal()
				c.end(s)
				if s.up.judge.aliveAt(old, time.Now()) {
					s.t.Fatal("the token lives")
				}
				s.report(1)
				if rec := s.record(); !rec.Condemned || rec.EarlyDeaths != (token.EarlyDeaths{}) {
					t.Errorf("condemned %v, early deaths %+v; want true and none", rec.Condemned, rec.EarlyDeaths)
				}
			})
		})
	}
}

// TestAWarWithAnotherSystemStaysOutOfTheReserve: it forces a refresh again and again.
func TestAWarWithAnotherSystemStaysOutOfTheReserve(t *testing.T) {
	playWith(t, simSpec{name: stable, policy: refresh.Policy{DailyBudget: 20, Reserve: 5, Verify: interval}}, func(s *scene) {
		for range 40 {
			time.Sleep(2 * time.Minute)
			if s.up.judge.aliveAt(s.record().Value.Reveal(), time.Now()) {
				s.foreign(1)
			}
		}
		if got := s.record().Spent.Fetches; got != 15 {
			t.Errorf("%d fetches are spent, want 15: the reserve of 5 is for the end of life", got)
		}
	})
}
