package refresh_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// killCurrent makes the current token die before its time, as another system's fetch does.
func (s *scene) killCurrent() {
	s.t.Helper()
	if !s.up.judge.wechat.Kill(s.record().Value.Reveal()) {
		s.t.Fatal("the current token was dead already")
	}
	s.up.judge.excuse(s.record().Value.Reveal())
}

func (s *scene) report(version int64) token.Reply {
	return s.ask(token.Request{Kind: token.RequestReport, Version: version})
}

func TestAReportOfALivingTokenCausesNoFetch(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			play(t, name, func(s *scene) {
				if r := s.report(1); r.Verdict != token.VerdictUnchanged {
					t.Errorf("verdict %q, want unchanged", r.Verdict)
				}
				if got := len(s.begins()); got != 1 {
					t.Errorf("%d attempts, want 1", got)
				}
			})
		})
	}
}

// A replica that was updated already asks for what this leader has never heard of.
func TestACallOfAnUnknownKindIsRefusedWhateverItsVersion(t *testing.T) {
	play(t, stable, func(s *scene) {
		for version := range int64(3) {
			if r := s.ask(token.Request{Kind: "newer", Version: version}); r.Verdict != token.VerdictFailed || !contains(r.Reason, "newer") {
				t.Errorf("of version %d: verdict %q (%s), want failed", version, r.Verdict, r.Reason)
			}
		}
		if got := len(s.begins()); got != 1 || s.record().Condemned {
			t.Errorf("%d attempts, want 1; condemned: %v", got, s.record().Condemned)
		}
	})
}

func TestAReportOfADeadTokenBringsANewOne(t *testing.T) {
	for _, c := range []struct {
		name   string
		token  string
		before time.Duration // of age when it dies
		within time.Duration
	}{
		{"classic, long after the last fetch", classic, 30 * time.Minute, time.Minute},
		{"stable: the upstream answers with the dead token, so the next fetch is forced", stable, 30 * time.Minute, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.token, func(s *scene) {
				time.Sleep(c.before)
				s.killCurrent()
				start := time.Now()
				if r := s.report(1); r.Verdict != token.VerdictDone {
					t.Errorf("verdict %q (%s), want done", r.Verdict, r.Reason)
				}
				if took := time.Since(start); took > c.within {
					t.Errorf("took %v, want at most %v", took, c.within)
				}
				s.until("the new token is served", 10*time.Second, func() bool { return s.record().Version == 2 && s.allActive() })
				if s.record().Condemned {
					t.Error("the new token is condemned")
				}
			})
		})
	}
}

func TestManyReportsOfOneVersionCauseOneFetch(t *testing.T) {
	play(t, classic, func(s *scene) {
		time.Sleep(30 * time.Minute)
		s.killCurrent()
		for range 50 {
			if r := s.report(1); r.Verdict != token.VerdictDone {
				t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
		}
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts, want 2", got)
		}
	})
}

// TestAReportRightAfterAFetchKeepsItsDistance: the order of requests matters even if the token is dead.
func TestAReportRightAfterAFetchKeepsItsDistance(t *testing.T) {
	play(t, classic, func(s *scene) {
		time.Sleep(20 * time.Second)
		s.killCurrent()
		r := s.report(1)
		if r.Verdict != token.VerdictExhausted || r.RetryAfter <= 0 || r.RetryAfter > s.timing.Settled() {
			t.Errorf("verdict %q, come back after %v; want exhausted, and at most %v", r.Verdict, r.RetryAfter, s.timing.Settled())
		}
		time.Sleep(2 * time.Second)
		for i := range s.running {
			if got := s.alive(i).view.Token(classic).Read().State; got != view.Expired {
				t.Errorf("replica %d calls the dead token %v", i, got)
			}
		}
		time.Sleep(r.RetryAfter)
		s.until("the token is replaced without another report", 10*time.Second, func() bool { return s.record().Version == 2 && s.allActive() })
		if gap := s.begins()[1].Sub(s.begins()[0]); gap < s.timing.Settled() {
			t.Errorf("the fetches are %v apart, want at least %v", gap, s.timing.Settled())
		}
	})
}

// TestAReportRightAfterARotationSparesThePredecessor: followers may have promised it until W after the attempt, and callers hold it; the
// fetch that replaces its dead successor kills it.
func TestAReportRightAfterARotationSparesThePredecessor(t *testing.T) {
	for _, change := range []string{"by the same leader", "by the next leader"} {
		t.Run(change, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				s.due()
				s.until("the token was rotated", time.Minute, func() bool { return s.record().Version == 2 })
				s.killCurrent()
				rotated := s.begins()[1]
				if change == "by the next leader" {
					lead := s.etcd.leader()
					lead.dies()
					s.until("another leader", time.Minute, func() bool { l := s.etcd.leader(); return l != nil && l != lead })
				}
				if r := s.report(2); r.Verdict != token.VerdictExhausted {
					t.Errorf("verdict %q (%s), want exhausted", r.Verdict, r.Reason)
				}
				s.until("the dead token is replaced", 10*time.Minute, func() bool { return s.record().Version == 3 })
				if gap := s.begins()[2].Sub(rotated); gap < s.timing.W {
					t.Errorf("the fetches are %v apart, want at least %v", gap, s.timing.W)
				}
			})
		})
	}
}

// TestAFloodOfReportsStaysOutOfTheReserve: another system rotates the token again and again, and every caller reports it.
func TestAFloodOfReportsStaysOutOfTheReserve(t *testing.T) {
	playWith(t, simSpec{name: stable, policy: refresh.Policy{DailyBudget: 20, Reserve: 5}}, func(s *scene) {
		var last token.Reply
		for range 40 {
			time.Sleep(time.Minute)
			if s.up.judge.wechat.Kill(s.record().Value.Reveal()) {
				s.up.judge.excuse(s.record().Value.Reveal())
			}
			last = s.report(s.record().Version)
			if last.Verdict == token.VerdictExhausted {
				break
			}
		}
		if last.Verdict != token.VerdictExhausted || last.RetryAfter <= 0 || !contains(last.Reason, "kept for a token") {
			t.Fatalf("the last verdict is %q (%s), want exhausted, with when to come back", last.Verdict, last.Reason)
		}
		if got := s.record().Spent.Fetches; got != 15 {
			t.Errorf("%d fetches are spent, want 15: the reserve of 5 is for the end of life", got)
		}
	})
}

func TestTheReserveServesATokenNearItsEnd(t *testing.T) {
	playWith(t, simSpec{name: classic, policy: refresh.Policy{DailyBudget: 10, Reserve: 9}}, func(s *scene) {
		s.due() // the only fetch outside of the reserve was the first
		time.Sleep(time.Minute)
		if got := len(s.begins()); got != 1 {
			t.Fatalf("%d attempts before the token is near its end, want 1", got)
		}
		s.until("the reserve is used before the token is lost", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
	})
}

func TestTheBudgetStartsAnewAtMidnightInShanghai(t *testing.T) {
	playWith(t, simSpec{name: classic, policy: refresh.Policy{DailyBudget: 2, Reserve: 1}}, func(s *scene) {
		// The bubble's time begins at midnight UTC, 8 in the morning in Shanghai: 16 hours to go, and two fetches.
		midnight := time.Date(2000, 1, 2, 0, 0, 0, 0, shanghai)
		time.Sleep(time.Until(midnight.Add(-time.Minute)))
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts on the first day, want the budget of 2", got)
		}
		s.until("the first fetch of the new day", time.Hour, func() bool { return s.record().Version == 3 && s.allActive() })
		if spent := s.record().Spent; spent.Day != "2000-01-02" || spent.Fetches != 1 {
			t.Errorf("spent is %+v, want 1 on 2000-01-02", spent)
		}
	})
}

func TestAnOperatorsRefresh(t *testing.T) {
	refreshNow := token.Request{Kind: token.RequestRefresh, Version: 1}
	forceNow := token.Request{Kind: token.RequestRefresh, Version: 1, Force: true}
	t.Run("on classic waits for the quiet wait and rotates", func(t *testing.T) {
		play(t, classic, func(s *scene) {
			if r := s.ask(refreshNow); r.Verdict != token.VerdictDone {
				t.Errorf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
			if gap := s.begins()[1].Sub(s.begins()[0]); gap < s.timing.W {
				t.Errorf("the fetches are %v apart, want at least %v", gap, s.timing.W)
			}
		})
	})
	t.Run("on stable brings the same token", func(t *testing.T) {
		play(t, stable, func(s *scene) {
			if r := s.ask(refreshNow); r.Verdict != token.VerdictUnchanged {
				t.Errorf("verdict %q (%s), want unchanged", r.Verdict, r.Reason)
			}
			if rec := s.record(); rec.Version != 1 || len(s.begins()) != 2 {
				t.Errorf("version %d after %d attempts, want 1 after 2", rec.Version, len(s.begins()))
			}
		})
	})
	t.Run("by force on stable kills the old token at once", func(t *testing.T) {
		play(t, stable, func(s *scene) {
			old := s.record().Value.Reveal()
			s.up.judge.excuse(old) // the operator's order
			if r := s.ask(forceNow); r.Verdict != token.VerdictDone {
				t.Errorf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
			if s.up.judge.aliveAt(old, time.Now()) {
				t.Error("the old token lives")
			}
			again := forceNow
			again.Version = 2
			if r := s.ask(again); r.Verdict != token.VerdictExhausted || r.RetryAfter <= 0 || r.RetryAfter > 30*time.Second {
				t.Errorf("a second forced refresh at once: verdict %q, come back after %v; want exhausted, at most 30s", r.Verdict, r.RetryAfter)
			}
		})
	})
	t.Run("by force on classic is refused", func(t *testing.T) {
		play(t, classic, func(s *scene) {
			if r := s.ask(forceNow); r.Verdict != token.VerdictFailed {
				t.Errorf("verdict %q, want failed", r.Verdict)
			}
		})
	})
	t.Run("overrides the back-off", func(t *testing.T) {
		play(t, stable, func(s *scene) {
			s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125", Remedy: "mend it"})
			r := s.ask(refreshNow)
			if r.Verdict != token.VerdictFailed || r.Failure == nil || r.Failure.Remedy != "mend it" {
				t.Fatalf("verdict %q with failure %+v, want failed with the upstream's refusal", r.Verdict, r.Failure)
			}
			s.up.regime(false, nil)
			start := time.Now()
			if r := s.ask(refreshNow); r.Verdict != token.VerdictUnchanged {
				t.Errorf("verdict %q, want unchanged", r.Verdict)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v: the back-off held it up", took)
			}
		})
	})
}

func TestAStaleReportIsAnsweredWithoutAFetch(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.until("version 2", 20*time.Minute, func() bool { return s.record().Version == 2 })
		if r := s.report(1); r.Verdict != token.VerdictDone {
			t.Errorf("verdict %q on a replaced version, want done", r.Verdict)
		}
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts, want 2", got)
		}
	})
}

// TestAnotherUpstreamUnderTheSameNameIsFetchedFrom: the configuration now names another application. The old token is served until
// the new one is there.
func TestAnotherUpstreamUnderTheSameNameIsFetchedFrom(t *testing.T) {
	play(t, stable, func(s *scene) {
		s.up.renamed.Store(" of another application")
		s.etcd.leader().resign <- struct{}{} // a reload starts the refresher anew, as a new term does
		s.until("a fetch from the new upstream", time.Minute, func() bool { return len(s.begins()) == 2 && s.record().Clean() })
		if got := s.record().Source; got != s.up.source(stable) {
			t.Errorf("the token's source is %q, want %q", got, s.up.source(stable))
		}
		time.Sleep(time.Hour)
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts, want 2", got)
		}
	})
}

// TestATokenIsLostOnlyIfTheUpstreamRefusesForAllOfItsLife: it comes back with a minute to go.
func TestATokenIsLostOnlyIfTheUpstreamRefusesForAllOfItsLife(t *testing.T) {
	for _, f := range []token.Failure{
		{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "50004"},
		{Outcome: token.OutcomeNone, Written: true, Class: token.Transient, Code: "busy"},
		{Outcome: token.OutcomeNone, Class: token.Unreachable, Code: "dial"},
	} {
		t.Run(f.Code, func(t *testing.T) {
			play(t, stable, func(s *scene) {
				s.due()
				s.up.regime(f.Class == token.Unreachable, &f)
				lead := s.alive(0)
				end, _ := lead.view.Token(stable).NominalEnd(1)
				time.Sleep(end.Sub(lead.clock.Now()) - 2*time.Minute)
				s.up.regime(false, nil)
				time.Sleep(110 * time.Second)
				if s.record().Version != 2 || !s.allActive() {
					t.Errorf("the upstream was able for the last 110 s of the token's life, and yet it was not refreshed: %+v", s.record())
				}
			})
		})
	}
}

// TestAForcedOrderIsDoneOnceTheVersionWasKilled: a refresh by schedule leaves the version that the order names alive for a while, and is
// not what the order wants; a repetition of an order that was carried out, by someone who lost the answer, is.
func TestAForcedOrderIsDoneOnceTheVersionWasKilled(t *testing.T) {
	play(t, stable, func(s *scene) {
		forceFirst := token.Request{Kind: token.RequestRefresh, Version: 1, Force: true}
		leaked := s.record().Value.Reveal()
		s.due()
		s.until("a refresh by schedule", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if !s.up.judge.aliveAt(leaked, time.Now()) {
			s.t.Fatal("the first token is dead already")
		}
		s.up.judge.excuse(leaked) // the order betrays those who hold either
		s.up.judge.excuse(s.record().Value.Reveal())
		begun := len(s.begins())
		for range 3 {
			if r := s.ask(forceFirst); r.Verdict != token.VerdictDone {
				t.Errorf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
		}
		if s.up.judge.aliveAt(leaked, time.Now()) {
			t.Error("the version that the order names lives")
		}
		if rec := s.record(); len(s.begins()) != begun+1 || rec.Version != 3 || rec.ForcedVersion != 3 {
			t.Errorf("%d attempts for one order, given three times; version %d, forced %d", len(s.begins())-begun, rec.Version, rec.ForcedVersion)
		}
		if r := s.ask(token.Request{Kind: token.RequestRefresh, Version: 2, Force: true}); r.Verdict != token.VerdictDone {
			t.Errorf("an order to kill version 2, which is dead: verdict %q, want done", r.Verdict)
		}
	})
}
