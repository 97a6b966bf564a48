package refresh_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// scripted is an upstream that does what a test says between the write and the answer.
type scripted struct {
	traits token.Traits
	value  string
	during func()

	renews bool // each answer brings another value
	asked  int
}

func (u *scripted) Traits() token.Traits { return u.traits }
func (u *scripted) Probe(context.Context, token.Secret) (token.Health, error) {
	return "", token.ErrNoProbe
}
func (u *scripted) Fetch(_ context.Context, req token.FetchRequest) (token.Grant, error) {
	if err := req.BeforeWrite(); err != nil {
		return token.Grant{}, &token.Failure{Outcome: token.OutcomeNone, Class: token.Transient, Code: "x"}
	}
	req.AfterWrite()
	u.during()
	value := u.value
	if u.asked++; u.renews {
		value = fmt.Sprint("v", u.asked)
	}
	return token.Grant{Value: token.NewSecret(value), Life: u.traits.MaxLife}, nil
}

// byName is own of cmd/broker: it looks the token up each time.
type byName struct{ v *view.View }

func (o byName) Age() (time.Duration, bool) { return o.v.Age() }
func (o byName) Held() (token.Record, time.Duration) {
	r := o.v.Token("s").Read()
	return *r.Record, r.Nominal
}
func (o byName) ServeLocal(source string, value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool) {
	return o.v.Token("s").ServeLocal(source, value, wrote, life)
}

func traitsOf(source string) token.Traits {
	return token.Traits{
		Kind: "x", Source: source, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: 270 * time.Second,
		Force: true, ForcedPerDay: 20, ForcedSpacing: 30 * time.Second, FetchesPerDay: 2000, Calendar: time.UTC,
	}
}

// A reload changes the account while the answer of the old one is under way.
func TestAValueOfTheOldAccountIsNotServedAsTheNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		v := view.New(view.Config{Clock: c})
		specs := func(source string) []view.Spec {
			return []view.Spec{{Name: "s", Traits: traitsOf(source), Timing: token.TimingFor(5 * time.Minute)}}
		}
		if err := v.Configure(specs("old account")); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		up := &scripted{traits: traitsOf("old account"), value: "of the old account"}
		up.during = func() {
			if err := v.Configure(specs("new account")); err != nil { // catalog.configure; loners.run stops this refresher a moment later
				t.Error(err)
			}
			stop()
		}
		r, err := refresh.New(refresh.Config{Name: "s", Upstream: up, Timing: token.TimingFor(5 * time.Minute), Clock: c, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_ = r.RunAlone(ctx, byName{v})
		if got := v.Token("s").Read(); got.State == view.Active {
			t.Errorf("%q is promised for %v as the token of %q", got.Record.Value.Reveal(), got.TTL, got.Record.Source)
		}
	})
}

// What never reached the upstream costs no budget, as with the leader.
func TestDiallingInVainDoesNotSpendTheBudgetOfGoingAlone(t *testing.T) {
	playWith(t, simSpec{name: stable, policy: refresh.Policy{DailyBudget: 200}}, func(s *scene) {
		// A replica's machine loses its network: etcd and the upstream are both gone.
		s.darken(true)
		s.up.regime(true, nil)
		time.Sleep(3 * time.Hour)
		s.up.regime(false, nil) // the upstream can be reached again, etcd cannot yet
		start := time.Now()
		for time.Since(start) < 12*time.Hour {
			if s.alive(0).view.Token(stable).Read().State == view.Active {
				break
			}
			time.Sleep(time.Minute)
		}
		if d := time.Since(start); d > 5*time.Minute {
			t.Errorf("the upstream answers, and the token came back only after %v", d)
		}
	})
}

// Lone fetches are to be spread over the second half of the stretch, so that there is time for a second try.
func TestAReplicaThatIsCutOffFetchesBeforeItsTokenEnds(t *testing.T) {
	for _, jitter := range []float64{0, 0.5, 0.9, 0.97, 0.999} {
		t.Run(fmt.Sprint(jitter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clock.New()
				v := view.New(view.Config{Clock: c})
				traits := traitsOf("a")
				if err := v.Configure([]view.Spec{{Name: "s", Traits: traits, Timing: token.TimingFor(5 * time.Minute)}}); err != nil {
					t.Fatal(err)
				}
				up := &scripted{traits: traits, renews: true, during: func() { time.Sleep(500 * time.Millisecond) }}
				r, err := refresh.New(refresh.Config{
					Name: "s", Upstream: up, Timing: token.TimingFor(5 * time.Minute), Clock: c, Logger: slog.New(slog.DiscardHandler),
					Jitter: func() float64 { return jitter },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); _ = r.RunAlone(ctx, byName{v}) }()
				time.Sleep(15 * time.Second)
				var gap time.Duration
				for range 8 * 36000 { // 8 h in steps of 100 ms
					time.Sleep(100 * time.Millisecond)
					if v.Token("s").Read().State != view.Active {
						gap += 100 * time.Millisecond
					}
				}
				stop()
				<-ended
				if gap > 0 {
					t.Errorf("with a perfect upstream the token was missing for %v in 8 h", gap)
				}
			})
		})
	}
}

// An operator's forced refresh is under way when etcd goes.
func TestAnOutageInTheMiddleOfAForcedRefreshIsSurvived(t *testing.T) {
	play(t, stable, func(s *scene) {
		time.Sleep(30 * time.Minute)
		lead := s.etcd.leader()
		s.at(stepWrite, before, func(*incarnation) {
			time.Sleep(100 * time.Millisecond) // everybody has seen the BEGIN
			s.up.judge.excuse(s.record().Value.Reveal())
			s.darken(true)
		})
		lead.calls[stable] <- token.Call{Request: token.Request{Kind: token.RequestRefresh, Name: stable, Version: 1, Force: true}, Reply: func(token.Reply) {}}
		time.Sleep(10 * time.Hour)
		for i := range s.running {
			r := s.alive(i).view.Token(stable).Read()
			if r.State != view.Active {
				t.Errorf("ten hours after the forced refresh, replica %d says %v, with %v left of what it fetched alone (local %v)", i, r.State, r.Nominal, r.Local)
			}
		}
	})
}

// A replica comes back to a store that has a living token, while the upstream is down.
func TestAReplicaThatComesBackServesWhatTheStoreHas(t *testing.T) {
	play(t, stable, func(s *scene) {
		cut := s.alive(0)
		if s.etcd.leader() == cut {
			cut = s.alive(1)
		}
		cut.cut()
		time.Sleep(2*time.Hour + time.Minute)
		if cut.view.Token(stable).Local() == 0 {
			t.Fatal("it did not go alone")
		}
		s.up.judge.excuse(s.record().Value.Reveal()) // the order itself betrays those who hold it
		if r := s.ask(token.Request{Kind: token.RequestRefresh, Version: s.record().Version, Force: true}); r.Verdict != token.VerdictDone {
			t.Fatal(r)
		}
		s.up.regime(true, nil) // the upstream is away
		cut.link.set(false, 0)
		time.Sleep(time.Minute)
		var others int
		for i := range s.running {
			if inc := s.alive(i); inc != cut && inc.view.Token(stable).Read().State == view.Active {
				others++
			}
		}
		r := cut.view.Token(stable).Read()
		if r.State != view.Active {
			t.Errorf("connected for a minute, the replica says %v; %d others promise version %d. The record has floor %d", r.State, others, s.record().Version, s.record().Floor)
		}
		time.Sleep(118 * time.Minute)
		t.Logf("later: %v, others hold %d with %v left", cut.view.Token(stable).Read().State, s.record().Version, s.etcd.leader().view.Token(stable).Read().Nominal)
		s.up.regime(false, nil)
	})
}

// etcd answers reads and refuses writes (a full disk: the NOSPACE alarm), or loses them.
// etcd comes back while a lone request is under way, and an operator forces a refresh.
func TestALoneFetchThatAForcedRefreshOvertakesIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		v := view.New(view.Config{Clock: c})
		traits := traitsOf("a")
		if err := v.Configure([]view.Spec{{Name: "s", Traits: traits, Timing: token.TimingFor(5 * time.Minute)}}); err != nil {
			t.Fatal(err)
		}
		held := token.Record{Version: 4, Source: "a", Value: token.NewSecret("v4"), IssuedAt: time.Now(), Life: 2 * time.Hour, Resolved: token.Resolution{Attempt: "4", Outcome: token.OutcomeToken}}
		v.Load(0, 10, 10, []view.Change{{Name: "s", Record: held}})
		v.Synced(c.Read(), 10)
		ctx, stop := context.WithCancel(t.Context())
		up := &scripted{traits: traits, value: "issued before, and killed by, the forced refresh"}
		up.during = func() {
			time.Sleep(time.Second) // WeChat has issued the value; its answer is slow
			done := held
			done.Version, done.Value, done.IssuedAt = 5, token.NewSecret("forced"), time.Now()
			done.Spent.ForcedAt, done.ForcedVersion = time.Now(), 5
			done.Resolved.Attempt = "f"
			time.Sleep(time.Second)
			sent := c.Read()
			v.Load(v.Revision(), 20, 20, []view.Change{{Name: "s", Record: done}})
			v.Synced(sent, 20)
			time.Sleep(time.Second)
			stop()
		}
		r, err := refresh.New(refresh.Config{Name: "s", Upstream: up, Timing: token.TimingFor(5 * time.Minute), Clock: c, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_ = r.RunAlone(ctx, byName{v})
		if got := v.Token("s").Read(); got.Record.Value.Reveal() == up.value {
			t.Errorf("in sync %v, %v for %v under version %d: %q", got.InSync, got.State, got.TTL, got.Record.Version, got.Record.Value.Reveal())
		}
	})
}

// The store condemns the very value that a replica has fetched alone.
func TestACondemnedValueIsHandedOutByNobody(t *testing.T) {
	play(t, stable, func(s *scene) {
		cut := s.alive(0)
		if s.etcd.leader() == cut {
			cut = s.alive(1)
		}
		cut.cut()
		time.Sleep(2*time.Hour + time.Minute)
		local := cut.view.Token(stable).Read()
		if !local.Local || local.Record.Value != s.record().Value {
			t.Fatal("an idempotent upstream gives both the same")
		}
		s.up.bury(s.record().Value) // it dies; a caller of the leader's reports it; no fetch brings another one for a while
		s.up.refuse(func(string, int) *token.Failure {
			return &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.DailyQuota, Code: "45009", RetryAfter: time.Hour}
		})
		lead := s.etcd.leader()
		lead.calls[stable] <- token.Call{Request: token.Request{Kind: token.RequestReport, Name: stable, Version: s.record().Version}, Reply: func(token.Reply) {}}
		s.until("it is condemned", time.Minute, func() bool { return s.record().Condemned })
		cut.link.set(false, 0)
		time.Sleep(20 * time.Minute)
		for i := range s.running {
			r := s.alive(i).view.Token(stable).Read()
			t.Logf("replica %d: %v, version %d, local %v, in sync %v", i, r.State, r.Record.Version, r.Local, r.InSync)
			if r.State == view.Active {
				t.Errorf("replica %d hands out for %v what is condemned", i, r.TTL)
			}
		}
		s.up.judge.excuse(local.Record.Value.Reveal())
	})
}

// The value is condemned when etcd goes, and the upstream has no other before the end of its life.
func TestTheBudgetOfGoingAloneLastsUntilThereIsAnotherValue(t *testing.T) {
	playWith(t, simSpec{name: stable, policy: refresh.Policy{DailyBudget: 200, TrustReports: true}}, func(s *scene) {
		time.Sleep(9 * time.Hour) // a new day has begun in Shanghai... and the fifth token is current
		s.at(stepBegin, before, func(*incarnation) { s.darken(true); time.Sleep(time.Second) })
		lead := s.etcd.leader()
		s.wg.Go(func() {
			lead.calls[stable] <- token.Call{Request: token.Request{Kind: token.RequestReport, Name: stable, Version: s.record().Version}, Reply: func(token.Reply) {}}
		})
		time.Sleep(time.Minute)
		if !s.record().Condemned {
			t.Fatal("not condemned")
		}
		start := time.Now()
		for time.Since(start) < 20*time.Hour && s.alive(0).view.Token(stable).Read().State != view.Active {
			time.Sleep(time.Minute)
		}
		if d := time.Since(start); d > 2*time.Hour+10*time.Minute {
			t.Errorf("the upstream has given out a new value for hours, and the replica serves none after %v", d)
		}
	})
}

// A replica that starts and dies again and again.
// A replica that started blind and is cut off puts Version 0 (view.Token.Version) into an order; the leader gets it when etcd is back.
