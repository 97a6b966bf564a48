package guard_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc/codes"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/guard"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestIdentityThatCallsTooOftenIsToldWhenToComeBackAndNobodyElseIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 2, Burst: 10, Streams: 1, Calls: 1})
		for n := range 10 {
			if err := d.get(from("shop", fmt.Sprintf("10.0.0.%d:1", n)), "shop"); err != nil {
				t.Fatalf("call %d: %v", n, err)
			}
		}
		recorded := len(d.book.all())
		wait := refused(t, d.get(from("shop", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
		if wait < 500*time.Millisecond || wait > 1500*time.Millisecond {
			t.Errorf("to come back after %v", wait)
		}
		if got := len(d.book.all()); got != recorded {
			t.Errorf("%d records of what was refused for its number", got-recorded)
		}
		if err := d.get(from("boss", here), "shop"); err != nil {
			t.Errorf("another identity from the same address: %v", err)
		}
		if err := d.get(from("", here), "open"); err != nil {
			t.Errorf("an anonymous caller from the same address: %v", err)
		}
		time.Sleep(wait)
		if err := d.get(from("shop", here), "shop"); err != nil {
			t.Errorf("after %v: %v", wait, err)
		}
		if diff := cmp.Diff(map[string]float64{"token": 1}, d.counted("rate")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCallerWithTwoIdentitiesTakesFromBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 1, Burst: 1, Streams: 1, Calls: 1})
		d.passes.give("both", time.Time{}, "token:shop", "token:boss")
		if err := d.get(from("both", here), "shop"); err != nil {
			t.Fatal(err)
		}
		for _, one := range []string{"shop", "boss"} {
			refused(t, d.get(from(one, here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
		}
	})
}

func TestOpenStreamsAndCallsAreLimitedAndGivenBack(t *testing.T) {
	d := newDoor(t, guard.Limits{Rate: 1 << 20, Burst: 1 << 20, Streams: 3, Calls: 2})
	d.passes.give("both", time.Time{}, "token:boss", "token:shop")
	for m, most := range map[server.Method]int{watch: 3, get: 2} {
		for range 2 { // what was given back can be taken again
			var open []server.Visit
			for range most {
				open = append(open, d.enter("shop", m))
			}
			for _, who := range []string{"shop", "both"} { // the second has taken from boss already, and gives that back
				_, err := d.Admit(from(who, here), m)
				if wait := refused(t, err, codes.ResourceExhausted, server.ReasonCallerLimit); wait < time.Second {
					t.Errorf("to come back after %v", wait)
				}
			}
			d.enter("boss", m).End(nil)
			for _, v := range open {
				v.End(nil)
			}
		}
	}
}

func TestAnonymousCallersAreLimitedByTheirAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 1, Burst: 2, Streams: 9, Calls: 9})
		for _, group := range [][]string{
			{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"},
			{"[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::2]:1", "[2001:db8:1:2::3%eth0]:1"}, // one network
			{"10.0.0.2:1", "[::ffff:10.0.0.2]:1", "10.0.0.2:2"},
			{"@", "@", "@"}, // a socket without addresses
		} {
			for _, peer := range group[:2] {
				if err := d.get(from("", peer), "open"); err != nil {
					t.Errorf("%s: %v", peer, err)
				}
			}
			refused(t, d.get(from("", group[2]), "open"), codes.ResourceExhausted, server.ReasonCallerLimit)
		}
	})
}

func TestAddressThatFailedTooOftenIsHeardNoMoreButForWhoWasKnownThere(t *testing.T) {
	for what, fail := range map[string]func(*door) error{
		"guesses":   func(d *door) error { return d.get(from("guess", here), "shop") },
		"anonymous": func(d *door) error { return d.get(from("", here), "shop") },
		"malformed": func(d *door) error {
			v, err := d.Admit(t.Context(), get) // from nowhere, which counts as an address
			if err == nil {
				v.End(nil)
			}
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, ample)
			if err := d.get(from("shop", here), "shop"); err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				if fail(d) == nil {
					t.Fatal("allowed")
				}
			}
			wait := refused(t, fail(d), codes.ResourceExhausted, server.ReasonCallerLimit)
			if got := len(d.book.all()); got > 100 {
				t.Errorf("%s: %d records", what, got)
			}
			if failures := d.counted("failures")["none"]; failures < 900 {
				t.Errorf("%s: %v are counted", what, failures)
			}
			if err := d.get(from("shop", here), "shop"); err != nil {
				t.Errorf("%s: whoever was known there: %v", what, err)
			}
			if err := d.get(from("boss", "10.0.0.2:1"), "shop"); err != nil {
				t.Errorf("%s: elsewhere: %v", what, err)
			}
			if what != "malformed" {
				refused(t, d.get(from("till", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
			}
			d.passes.take("shop")
			refused(t, d.get(from("shop", here), "shop"), codes.Unauthenticated, server.ReasonUnauthenticated)
			if what != "malformed" { // it is as good as a guess now
				refused(t, d.get(from("shop", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
			}
			time.Sleep(wait)
			if err := d.get(from("boss", here), "shop"); err != nil {
				t.Errorf("%s: after %v: %v", what, wait, err)
			}
		})
	}
}

// hesitant is an authenticator that has to wait for an issuer's keys to know some callers.
type hesitant struct{ *passes }

func (h hesitant) Authenticate(ctx context.Context, o access.Origin) (access.Caller, error) {
	if b := o.Bearer.Reveal(); strings.HasPrefix(b, "slow") {
		time.Sleep(3 * time.Second)
		o.Bearer = token.NewSecret(strings.TrimPrefix(b, "slow "))
	}
	return h.passes.Authenticate(ctx, o)
}

func TestCallsWhoseCallersTookLongToKnowFillNoBucket(t *testing.T) {
	limits := guard.Limits{Rate: 10, Burst: 10, Streams: 1, Calls: 1000}
	const calls = 300 // that begin slowly, and as many that come in between when those end
	for bearer, tc := range map[string]struct {
		reason, kind string
		most         float64
	}{
		"shop":  {"rate", "token", 20},
		"guess": {"failures", "none", calls + 60}, // whoever is being looked at has been let in
	} {
		t.Run(bearer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, limits)
				rules := d.rules(limits)
				rules.Authenticator = hesitant{d.passes}
				d.Replace(rules)
				var all sync.WaitGroup
				for range calls {
					all.Go(func() {
						_ = d.get(from("slow "+bearer, here), "shop")
						_ = d.get(from(bearer, here), "shop")
					})
				}
				all.Wait()
				if let := 2*calls - d.counted(tc.reason)[tc.kind]; let > tc.most {
					t.Errorf("%v calls were let in at once", let)
				}
			})
		})
	}
}

func TestNewIdentitiesNeitherFreeNorFillAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 1, Burst: 1, Streams: 9, Calls: 9})
		stream := d.enter("boss", watch)
		defer stream.End(nil)
		if err := d.get(from("shop", here), "shop"); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for n := range 60_000 {
			d.passes.give("flood", time.Time{}, access.Identity(fmt.Sprintf("jwt:k8s:%d", n)))
			_ = d.get(from("flood", here), "shop")
			d.book.records = nil
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		refused(t, d.get(from("shop", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
		time.Sleep(time.Second) // now all could be forgotten, for they are as good as new
		for n := range 1000 {
			d.passes.give("later", time.Time{}, access.Identity(fmt.Sprintf("jwt:k8s:later-%d", n)))
			if err := d.get(from("later", here), "shop"); err != nil {
				t.Fatalf("identity %d that comes later: %v", n, err)
			}
		}
	})
}

func TestManyAddressesTakeNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 1, Burst: 1, Streams: 9, Calls: 9})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for n := range 40_000 {
			_ = d.get(from("", fmt.Sprintf("[2001:db8:%x:%x::1]:1", n>>16, n&0xffff)), "shop")
			d.book.records = nil
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
	})
}

func TestLimitsAreReplacedAndNobodyIsFilledUpByThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, guard.Limits{Rate: 1, Burst: 2, Streams: 1, Calls: 1})
		stream := d.enter("shop", watch)
		for range 1 {
			if err := d.get(from("shop", here), "shop"); err != nil {
				t.Fatal(err)
			}
		}
		d.Replace(d.rules(guard.Limits{Rate: 100, Burst: 50, Streams: 2, Calls: 1}))
		refused(t, d.get(from("shop", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
		time.Sleep(100 * time.Millisecond)
		second := d.enter("shop", watch)
		if _, err := d.Admit(from("shop", here), watch); err == nil {
			t.Error("a third stream was let in: the first was forgotten")
		}
		for range 8 {
			if err := d.get(from("shop", here), "shop"); err != nil {
				t.Error(err)
			}
		}
		stream.End(nil)
		second.End(nil)
	})
}

func TestMetricsNameNobody(t *testing.T) {
	d := newDoor(t, guard.Limits{Rate: 1, Burst: 1, Streams: 1, Calls: 1})
	for n, id := range []access.Identity{"spiffe://example.org/shop", "dns:a.example", "cn:x", "jwt:k8s:s", "client:till", "evil\nkind:x"} {
		d.passes.give("one", time.Time{}, id)
		for range 3 {
			_ = d.get(from("one", fmt.Sprintf("10.9.0.%d:1", n)), "wallet")
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d.Guard)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.ContainsAny(l.GetValue(), ":/\n.") {
					t.Errorf("label %s has the value %q", l.GetName(), l.GetValue())
				}
			}
		}
	}
}
