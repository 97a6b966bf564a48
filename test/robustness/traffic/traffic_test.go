package traffic_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// observe lets two brokers be used for a minute. Call it inside a bubble.
func observe(t *testing.T, seed uint64, brokers [2]*broker, check func(string) error) []history.Event {
	t.Helper()
	rec := history.NewRecorder()
	tr := traffic.New(traffic.Config{
		Recorder: rec, Seed: seed, Callers: 2, Pace: 100 * time.Millisecond, Errands: time.Second,
		Replicas: []traffic.Replica{{ID: "a", Conn: brokers[0]}, {ID: "b", Conn: brokers[1]}},
		Tokens: []traffic.Token{
			{Name: "stable", Promise: 40 * time.Second, Check: check, Forcible: true},
			{Name: "classic", Promise: 8 * time.Second, Check: check},
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Run(ctx); err != nil {
		t.Error(err)
	}
	return rec.Events()
}

func alive(string) error { return nil }

func TestEveryAnswerIsInTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := [2]*broker{{takes: 20 * time.Millisecond, value: "v"}, {takes: 20 * time.Millisecond, fail: status.Error(codes.Unavailable, "gone")}}
		events := observe(t, 1, brokers, alive)
		got := map[string]int{}
		for _, e := range events {
			got[fmt.Sprint(e.Kind, e.Replica)]++
			if e.Kind != history.Used && (e.Received-e.Sent < 20*time.Millisecond && e.Kind != history.Watched || (e.Code == "OK") != (e.Replica == "a") && e.Code != "Unknown") {
				t.Errorf("event %+v does not fit its broker", e)
			}
			if e.Kind == history.Get && e.Replica == "a" && (e.Answer == nil || e.Answer.Version != 7 || e.Answer.TTL != 8*time.Second || e.Answer.State != "active" || !e.Answer.Local) {
				t.Errorf("event %+v lacks what was answered", e)
			}
		}
		for i, id := range []string{"a", "b"} {
			if n, want := got["get"+id], brokers[i].count(tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName); n != want || n < 600 {
				t.Errorf("%d events of %d calls of %s", n, want, id)
			}
		}
		if got["lista"] == 0 || got["statusb"] == 0 || got["refresha"] == 0 || got["useda"] == 0 || got["usedb"] != 0 {
			t.Errorf("events are missing: %v", got)
		}
	})
}

func TestChoicesAreThoseOfTheSeed(t *testing.T) {
	choices := func(seed uint64, takes time.Duration) map[string][]string {
		made := map[string][]string{}
		synctest.Test(t, func(t *testing.T) {
			b := broker{takes: takes, value: "v"}
			other := broker{value: "v"}
			for _, e := range observe(t, seed, [2]*broker{&b, &other}, alive) {
				if e.Actor != "operator" && e.Kind != history.Used && e.Kind != history.Watched {
					made[e.Actor] = append(made[e.Actor], fmt.Sprint(e.Kind, e.Replica, e.Token, e.MinTTL))
				}
			}
		})
		for actor, list := range made {
			made[actor] = list[:min(len(list), 3)] // a slow broker is asked less often, for the same things
		}
		return made
	}
	if diff := cmp.Diff(choices(1, 0), choices(1, time.Second)); diff != "" {
		t.Errorf("a slower broker changes what is asked (-quick +slow):\n%s", diff)
	}
	if cmp.Equal(choices(1, 0), choices(2, 0)) {
		t.Error("two seeds make the same choices")
	}
}

func TestRefusedTokenIsReportedAndNoOther(t *testing.T) {
	for code, reported := range map[int]bool{40001: true, 42001: true, 40014: true, 45009: false} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := broker{value: "dead"}
				events := observe(t, 1, [2]*broker{&b, &b}, func(string) error { return &wechattest.Error{Code: code} })
				used, reports := 0, 0
				for _, e := range events {
					switch e.Kind {
					case history.Used:
						used++
						if e.Code != fmt.Sprint(code) {
							t.Errorf("a use has code %s", e.Code)
						}
					case history.Report:
						reports++
						if e.Asked != 7 || e.Answer == nil {
							t.Errorf("report %+v", e)
						}
					default:
					}
				}
				if used == 0 || reported && reports != used || !reported && reports != 0 {
					t.Errorf("%d uses, %d reports", used, reports)
				}
			})
		})
	}
}

func TestStreamThatEndsIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := broker{value: "v"}, broker{fail: status.Error(codes.Unavailable, "draining")}
		messages, ends := 0, 0
		for _, e := range observe(t, 1, [2]*broker{&good, &bad}, alive) {
			switch {
			case e.Kind != history.Watched:
			case e.Answer != nil:
				messages++
			default:
				ends++
			}
		}
		const watch = tokenbrokerv1.TokenBrokerService_WatchToken_FullMethodName
		if n := good.count(watch); n < 10 || n != messages {
			t.Errorf("%d streams that last 10 s each were opened in a minute for two tokens, and told %d messages", n, messages)
		}
		if n := bad.count(watch); n < 50 || n > 120 {
			t.Errorf("%d streams that fail at once were opened, want one about every 2 s for each token", n)
		}
		if ends == 0 {
			t.Error("the end of no stream is in the history")
		}
	})
}
