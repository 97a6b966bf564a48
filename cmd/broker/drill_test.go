package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// leaky is a broker whose token leaked: it counts forced refreshes, and refuses what the test wants.
type leaky struct {
	fakeBroker

	mu      sync.Mutex
	version int64
	orders  []int64 // the versions that orders named
	refuse  []error // what comes of the next orders; nil: nothing is wrong
}

func newLeaky(refuse ...error) *leaky {
	b := &leaky{version: 17, refuse: refuse}
	b.status = healthyStatus()
	b.refresh = func(r *tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !r.GetForce() {
			return nil, status.Error(codes.InvalidArgument, "not forced")
		}
		b.orders = append(b.orders, r.GetVersion())
		if len(b.refuse) > 0 {
			err := b.refuse[0]
			b.refuse = b.refuse[1:]
			if err != nil {
				return nil, err
			}
		}
		if b.version == r.GetVersion() {
			b.version++
		}
		tok := shopToken()
		tok.AccessToken, tok.Version = "", b.version
		return &tokenbrokerv1.RefreshTokenResponse{Token: tok}, nil
	}
	return b
}

// order runs a command, at a terminal if something is typed there, and returns what is written on standard error, and the exit code.
func (b *leaky) order(t *testing.T, typed string, args ...string) (string, int) {
	t.Helper()
	return b.orderUntil(t, "no such text", typed, args...)
}

// orderUntil is order, interrupted when a text is written on standard error.
func (b *leaky) orderUntil(t *testing.T, text, typed string, args ...string) (string, int) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out bytes.Buffer
	errs := trigger{text: text, pull: interrupt}
	code := run(ctx, args, console{
		in: strings.NewReader(typed), out: &out, err: &errs, terminal: typed != "",
		env: fakeEnvironment(map[string]string{serverVariable: b.start(t)}), now: func() time.Time { return noon },
	})
	if code == 0 != strings.Contains(out.String(), "version    19") {
		t.Errorf("exit code %d with the output\n%s", code, out.String())
	}
	return errs.String(), code
}

// trigger is pulled when a text has been written.
type trigger struct {
	bytes.Buffer

	text string
	pull func()
}

func (tr *trigger) Write(p []byte) (int, error) {
	n, err := tr.Buffer.Write(p)
	if strings.Contains(tr.String(), tr.text) {
		tr.pull()
	}
	return n, err
}

// spaced is how a broker refuses the second order: come back so much later.
func spaced(d time.Duration) error {
	return refusal(codes.ResourceExhausted, "another fetch is not allowed now: the upstream ignores forced refreshes less than 30s apart",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(d)}, &errdetails.ErrorInfo{Reason: "REFRESH_LIMIT", Domain: "tokenbroker"})
}

func lost() error {
	return refusal(codes.Unavailable, "no replica leads at the moment", &errdetails.ErrorInfo{Reason: "NO_LEADER", Domain: "tokenbroker"})
}

func mustSay(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

func TestDrillKillsTwiceAndWaitsAsLongAsTheBrokerSays(t *testing.T) {
	t.Parallel()
	b := newLeaky(nil, spaced(1200*time.Millisecond))
	began := time.Now()
	text, code := b.order(t, "shop\n", "refresh", "--force", "--twice", "shop")
	if code != 0 || time.Since(began) < 1200*time.Millisecond {
		t.Errorf("exit code %d after %v\n%s", code, time.Since(began), text)
	}
	if diff := cmp.Diff([]int64{17, 18, 18}, b.orders); diff != "" {
		t.Errorf("the versions of the orders (-want +got):\n%s", diff)
	}
	mustSay(t, text, "refused wherever it is", "Type the token's name", "shop has version 17", "1 of 2 done: version 17 is dead, 18 took its place",
		"less than 30s apart; again in 1s", "2 of 2 done: version 18 is dead, 19 took its place")
}

func TestDrillIsNotBegunUnlessSomebodySaysSo(t *testing.T) {
	for _, c := range []struct {
		what, stdin string
		terminal    bool
		args        string
		code        int
		says        string
	}{
		{"another name is typed", "shopp\n", true, "refresh --force --twice shop", 1, "not confirmed; nothing was done"},
		{"yes is typed", "y\n", true, "refresh --force --twice shop", 1, "not confirmed; nothing was done"},
		{"the terminal is closed", "", true, "refresh --force --twice shop", 1, "not confirmed; nothing was done"},
		{"there is no terminal", "shop\n", false, "refresh --force --twice shop", 1, "give --yes to go on without asking. Nothing was done"},
		{"it is not forced", "", true, "refresh --twice --yes shop", 64, "--twice is for --force only"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append(strings.Fields(c.args), "--timeout", "1s"), console{
				in: strings.NewReader(c.stdin), out: &out, err: &errs, terminal: c.terminal,
				env: fakeEnvironment(map[string]string{serverVariable: closedPort(t)}), now: func() time.Time { return noon },
			})
			if code != c.code || strings.Contains(errs.String(), "no broker answers") {
				t.Errorf("exit code %d, want %d, and no broker asked", code, c.code)
			}
			mustSay(t, errs.String(), c.says)
		})
	}
}

func TestDrillGoesOnThroughAChangeOfLeaders(t *testing.T) {
	t.Parallel()
	// The first order is carried out, and its answer lost; then nobody leads for a while.
	b := newLeaky(lost(), lost(), nil, lost())
	text, code := b.order(t, "", "refresh", "--force", "--twice", "--yes", "shop")
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, text)
	}
	if diff := cmp.Diff([]int64{17, 17, 17, 18, 18}, b.orders); diff != "" {
		t.Errorf("the versions of the orders (-want +got):\n%s", diff)
	}
	mustSay(t, text, "no replica leads at the moment; again in 1s")
}

func TestDrillThatCannotEndSaysWhatIsDoneAndHowToGoOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		b    *leaky
		args []string
		code int
		says []string
	}{
		{"the day's are spent", newLeaky(nil, spaced(9*time.Hour)), nil, 4, []string{
			"retry    in 9h", "done     1 of 2 forced refreshes", "version 17 is dead, 18 took its place", "go on    broker refresh --force shop\n"}},
		{"nobody ever leads", newLeaky(lost(), lost(), lost(), lost()), []string{"--timeout", "2500ms"}, 3, []string{
			"done     0 of 2", "open     another was ordered, and may still be carried out", "go on    broker refresh --force --twice shop\n"}},
		{"it is not a token", newLeaky(), []string{"other"}, 2, []string{`no token "other"`, "done     0 of 2"}},
		{"the upstream has no force", newLeaky(status.Error(codes.InvalidArgument, "force: wechat classic cannot be told to kill a token")), nil, 1,
			[]string{"cannot be told to kill", "done     0 of 2", "go on    broker refresh --timeout 5m shop\n           ", "twice: the first replaces the token"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"refresh", "--force", "--twice", "--yes"}, c.args...)
			if len(c.args) != 1 {
				args = append(args, "shop")
			}
			text, code := c.b.order(t, "", args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			mustSay(t, text, c.says...)
			if strings.Contains(text, "--force --twice") != (c.code == 3) {
				t.Errorf("to say it again helps only where nobody led:\n%s", text)
			}
			if strings.Contains(text, "open") != strings.Contains(fmt.Sprint(c.says), "open") {
				t.Errorf("whether an order stands is told wrongly:\n%s", text)
			}
		})
	}
}

func TestInterruptedDrillSaysWhatIsDoneAndHowToGoOn(t *testing.T) {
	t.Parallel()
	b := newLeaky(nil, spaced(20*time.Second))
	text, code := b.orderUntil(t, "again in 20s", "", "refresh", "--force", "--twice", "--yes", "shop")
	if code != 130 || len(b.orders) != 2 {
		t.Errorf("exit code %d, orders %v", code, b.orders)
	}
	mustSay(t, text, "refresh: interrupted\n", "done     1 of 2 forced refreshes\n", "version 17 is dead, 18 took its place\n", "go on    broker refresh --force shop\n")
	if strings.Contains(text, "open") {
		t.Errorf("an order that was refused is told to stand:\n%s", text)
	}
}

// TestDrillAsksNoReplicaThatIsCutOff for the version to begin with: it may be an old one, which was killed before.
func TestDrillAsksNoReplicaThatIsCutOff(t *testing.T) {
	t.Parallel()
	b := newLeaky()
	b.status.Replica.InSync = false
	text, code := b.order(t, "", "refresh", "--force", "--twice", "--yes", "shop", "--timeout", "1500ms")
	if code != 3 || len(b.orders) != 0 {
		t.Errorf("exit code %d, orders %v", code, b.orders)
	}
	mustSay(t, text, "cut off from etcd; again in 1s", "done     0 of 2")
}
