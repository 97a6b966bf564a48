package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

func TestWhatIsHandedOutIsRecordedOnceBeforeItLeaves(t *testing.T) {
	d := newDoor(t, ample)
	ctx := metadata.NewIncomingContext(from("shop", here), metadata.Pairs("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	v, err := d.Admit(ctx, get)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Allow("shop-1"); err != nil || len(d.book.all()) > 0 {
		t.Fatalf("%v, recorded too early: %v", err, d.book.all())
	}
	if err := v.Hand("shop-1", 7); err != nil {
		t.Fatal(err)
	}
	want := []string{"done [token:shop] get shop-1 7 allow policy[0] OK"}
	if diff := cmp.Diff(want, d.book.all()); diff != "" {
		t.Errorf("when it leaves (-want +got):\n%s", diff)
	}
	v.End(nil)
	if diff := cmp.Diff(want, d.book.all()); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}
	if r := d.book.records[0]; r.Peer != here || r.Trace != "4bf92f3577b34da6a3ce929d0e0e4736" || r.Method != get.Name {
		t.Errorf("recorded %+v", r)
	}
}

func TestOrdersAreRecordedBeforeTheyAreCarriedOutAndAfter(t *testing.T) {
	for _, tc := range []struct {
		method server.Method
		token  string
		hand   bool
		end    error
		want   []string
	}{
		{refresh, "shop", true, nil, []string{"ordered [token:boss] refresh shop 0 allow policy[1]", "done [token:boss] refresh shop 3 allow policy[1] OK"}},
		{report, "shop", true, nil, []string{"ordered [token:boss] report shop 0 allow policy[1]", "done [token:boss] report shop 3 allow policy[1] OK"}},
		{resign, "", false, server.Unrecorded(), []string{"ordered [token:boss] resign 0 allow policy[1]", "done [token:boss] resign 0 allow policy[1] Unavailable"}},
	} {
		d := newDoor(t, ample)
		v := d.enter("boss", tc.method)
		if err := v.Allow(tc.token); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want[:1], d.book.all()); diff != "" {
			t.Errorf("before it is carried out (-want +got):\n%s", diff)
		}
		if tc.hand {
			if err := v.Hand(tc.token, 3); err != nil {
				t.Fatal(err)
			}
		}
		v.End(tc.end)
		if diff := cmp.Diff(tc.want, d.book.all()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestRefusalsAndCallsThatCameToNothingAreRecorded(t *testing.T) {
	d := newDoor(t, ample)
	refused(t, d.get(from("shop", here), "wallet"), codes.PermissionDenied, server.ReasonDenied)
	refused(t, d.get(from("nobody", here), "shop"), codes.Unauthenticated, server.ReasonUnauthenticated)
	refused(t, d.get(context.Background(), "shop"), codes.Unauthenticated, server.ReasonUnauthenticated)
	v := d.enter("shop", get)
	if err := v.Allow("shop-9"); err != nil {
		t.Fatal(err)
	}
	v.End(errNotFound)
	d.enter("shop", get).End(errNotFound) // a request that could not be read: nothing was asked for
	if diff := cmp.Diff([]string{
		"done [token:shop] get wallet 0 deny PermissionDenied",
		"done [] get 0 deny Unauthenticated",
		"done [] get 0 deny Unauthenticated",
		"done [token:shop] get shop-9 0 allow policy[0] NotFound",
	}, d.book.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"token": 1}, d.counted("denied")); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"none": 2}, d.counted("unauthenticated")); diff != "" {
		t.Errorf("unauthenticated (-want +got):\n%s", diff)
	}
}

func TestCallerWhoseIssuerIsAwayMayAskAgainAndStaysKnown(t *testing.T) {
	d := newDoor(t, ample)
	if err := d.get(from("shop", here), "shop"); err != nil {
		t.Fatal(err)
	}
	known := d.passes.of["shop"]
	d.passes.take("shop") // what was known of it is forgotten, and cannot be asked for
	d.passes.away = true
	refused(t, d.get(from("shop", here), "shop"), codes.Unavailable, server.ReasonIssuerAway)
	for range 1000 { // made-up ones end at their number, or everybody could have the issuer asked for nothing
		if err := d.get(from("made up", here), "shop"); status.Code(err) == codes.ResourceExhausted {
			break
		}
	}
	refused(t, d.get(from("made up", here), "shop"), codes.ResourceExhausted, server.ReasonCallerLimit)
	d.passes.give("shop", known.Expires, known.Identities...)
	if err := d.get(from("shop", here), "shop"); err != nil {
		t.Errorf("who was known before the issuer went away, and is again: %v", err)
	}
}

// A caller may put a token or a secret where a name belongs.
func TestWhatCannotBeANameIsNotRecorded(t *testing.T) {
	d := newDoor(t, ample)
	refused(t, d.get(from("shop", here), "76_Mq1xV0ken"), codes.PermissionDenied, server.ReasonDenied)
	if diff := cmp.Diff([]string{"done [token:shop] get (not a name) 0 deny PermissionDenied"}, d.book.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{"76_Mq1xV0ken", strings.Repeat("0f", 32), "shop?secret=1", "shop\n"} {
		v := d.enter("boss", get)
		if err := v.Allow(text); err != nil {
			t.Fatal(err)
		}
		v.End(errNotFound)
	}
	for _, line := range d.book.all()[1:] {
		if line != "done [token:boss] get (not a name) 0 allow policy[1] NotFound" {
			t.Errorf("recorded %s", line)
		}
	}
}

func TestRefusalNamesTheIdentityAndRepeatsNothingButWhatTheCallerSaid(t *testing.T) {
	d := newDoor(t, ample)
	d.passes.give("both", time.Time{}, "token:boss", "token:shop")
	for want, err := range map[string]error{
		`the policy does not allow token:shop to get token "wallet"`:                                       d.get(from("both", here), "wallet"),
		`the policy does not allow a caller who brings no credentials (anonymous) to get token "wallet\n"`: d.get(from("", here), "wallet\n"),
		`the policy does not allow token:till to get token "` + strings.Repeat("x", 64) + `"`:              d.get(from("till", here), strings.Repeat("x", 1<<16)),
		`the policy does not allow token:till to list any token`:                                           d.enter("till", list).Allow(""),
		`the policy does not allow token:till to see the status of any token`:                              d.enter("till", see).Allow(""),
		`the policy does not allow token:till to have the leader resign`:                                   d.enter("till", resign).Allow(""),
	} {
		if refused(t, err, codes.PermissionDenied, server.ReasonDenied); err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
}

func TestListsAreRecordedOnceAndShowWhatIsAllowed(t *testing.T) {
	d := newDoor(t, ample)
	v := d.enter("shop", list)
	var shown []string
	for _, name := range []string{"open", "shop-1", "shop-2", "wallet"} {
		if v.Allow(name) == nil {
			shown = append(shown, name)
		}
	}
	if err := v.Hand("", 0); err != nil {
		t.Fatal(err)
	}
	v.End(nil)
	if diff := cmp.Diff([]string{"shop-1", "shop-2"}, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"done [token:shop] list 0 allow policy[0] OK"}, d.book.all()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestNothingHappensAndNothingLeavesThatMustBeRecordedAndCannotBe(t *testing.T) {
	d := newDoor(t, ample)
	d.book.fill(true)
	for _, m := range []server.Method{refresh, report, resign} {
		v := d.enter("boss", m)
		err := v.Allow("shop")
		refused(t, err, codes.Unavailable, server.ReasonAuditFull)
		v.End(err)
	}
	for _, m := range []server.Method{get, watch, list} {
		v := d.enter("boss", m)
		if err := v.Allow("shop"); err != nil {
			t.Fatal(err)
		}
		err := v.Hand("shop", 1)
		refused(t, err, codes.Unavailable, server.ReasonAuditFull)
		v.End(err)
	}
	if d.book.tries != 6 {
		t.Errorf("%d records were tried for 6 calls", d.book.tries)
	}
	refused(t, d.get(from("till", here), "shop"), codes.PermissionDenied, server.ReasonDenied) // stays what it is
	if diff := cmp.Diff(map[string]float64{"token": 6}, d.counted("unrecorded")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d.book.fill(false)
	if err := d.get(from("shop", here), "shop"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestStreamHandsOutNothingMoreOnceAPolicyOrCredentialsEnd(t *testing.T) {
	for what, end := range map[string]struct {
		do     func(*door)
		code   codes.Code
		reason string
	}{
		"policy":      {func(d *door) { r := d.rules(ample); r.Policy = nothing{}; d.Replace(r) }, codes.PermissionDenied, server.ReasonDenied},
		"expiry":      {func(*door) { time.Sleep(time.Minute) }, codes.Unauthenticated, server.ReasonUnauthenticated},
		"credentials": {func(d *door) { d.passes.take("guest") }, codes.Unauthenticated, server.ReasonUnauthenticated},
		"identity":    {func(d *door) { d.passes.give("guest", time.Time{}, "token:till") }, codes.PermissionDenied, server.ReasonDenied},
	} {
		for _, next := range []string{"message", "look"} {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, ample)
				d.passes.give("guest", time.Now().Add(time.Minute), "token:shop")
				v := d.enter("guest", watch)
				if err := errors.Join(v.Allow("shop"), v.Hand("shop", 1), v.Allow("shop"), v.Hand("shop", 2)); err != nil {
					t.Fatal(err)
				}
				end.do(d)
				var err error
				if next == "message" {
					err = v.Hand("shop", 3)
				} else {
					err = v.Allow("shop")
				}
				refused(t, err, end.code, end.reason)
				v.End(err)
				got := d.book.all()
				if len(got) != 3 || !strings.HasSuffix(got[2], "0 deny "+end.code.String()) && !strings.HasSuffix(got[2], "deny policy[0] "+end.code.String()) {
					t.Errorf("%s, %s: recorded %q", what, next, got)
				}
			})
		}
	}
}

func TestAnswerThatTookLongIsForThoseWhoMayStillHaveIt(t *testing.T) {
	for _, end := range []func(*door){
		func(d *door) { d.passes.take("guest") },
		func(d *door) { d.passes.give("guest", time.Now(), "token:shop") },
		func(d *door) { r := d.rules(ample); r.Policy = nothing{}; d.Replace(r) },
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, ample)
			d.passes.give("guest", time.Time{}, "token:shop")
			v := d.enter("guest", get)
			if err := v.Allow("shop"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			end(d)
			time.Sleep(2 * time.Second)
			err := v.Hand("shop", 1)
			if err == nil {
				err = d.get(from("guest", here), "shop")
				t.Errorf("it was handed out; another call gets %v", err)
			}
			v.End(err)
		})
	}
}

func TestPolicyThatIsReplacedIsThatOfCallsUnderWay(t *testing.T) {
	d := newDoor(t, ample)
	v := d.enter("shop", get)
	if err := v.Allow("shop"); err != nil {
		t.Fatal(err)
	}
	r := d.rules(ample)
	r.Policy = nothing{}
	d.Replace(r)
	err := v.Hand("shop", 1)
	refused(t, err, codes.PermissionDenied, server.ReasonDenied)
	v.End(err)
}

func TestAuthorizeIsForThoseWhoMayDoItWithAllTokens(t *testing.T) {
	d := newDoor(t, ample)
	metrics := server.Method{Name: "/metrics", Verb: access.Status}
	origin := func(bearer string) access.Origin {
		o, _ := from(bearer, here).Value(originKey{}).(access.Origin)
		return o
	}
	if err := d.Authorize(t.Context(), origin("boss"), nil, metrics); err != nil {
		t.Error(err)
	}
	refused(t, d.Authorize(t.Context(), origin("shop"), nil, metrics), codes.PermissionDenied, server.ReasonDenied)
	refused(t, d.Authorize(t.Context(), origin("nobody"), nil, metrics), codes.Unauthenticated, server.ReasonUnauthenticated)
	refused(t, d.Authorize(t.Context(), origin(""), access.ErrUnauthenticated, metrics), codes.Unauthenticated, server.ReasonUnauthenticated)
	if diff := cmp.Diff([]string{
		"done [token:boss] status 0 allow policy[1] OK", "done [token:shop] status 0 deny PermissionDenied", "done [] status 0 deny Unauthenticated",
		"done [] status 0 deny Unauthenticated",
	}, d.book.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGuardIsSafeForManyCallersAndReplacements(t *testing.T) {
	d := newDoor(t, ample)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 200 {
				_ = d.get(from([]string{"shop", "boss", "nobody", ""}[n%4], fmt.Sprintf("10.0.1.%d:1", n)), "shop")
			}
		})
	}
	for range 50 {
		d.Replace(d.rules(ample))
	}
	all.Wait()
	if err := d.get(from("boss", here), "shop"); err != nil {
		t.Error(err)
	}
}

// nothing is a policy that allows nothing.
type nothing struct{}

func (nothing) Decide(c access.Caller, _ access.Verb, _ string) access.Decision {
	return access.Decision{Identity: c.Identities[0]}
}
