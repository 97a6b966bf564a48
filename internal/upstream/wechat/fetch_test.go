package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

func fetch(t *testing.T, client *wechat.Client, force bool) token.Grant {
	t.Helper()
	grant, err := client.Fetch(t.Context(), token.FetchRequest{Force: force})
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// modes are the modes with the endpoints that they use.
var modes = map[wechat.Mode]wechattest.Endpoint{wechat.Stable: wechattest.Stable, wechat.Classic: wechattest.Classic}

func TestFetchBringsALivingTokenFromTheRightEndpoint(t *testing.T) {
	for mode, endpoint := range modes {
		client, sim := simulate(t, wechat.Config{Mode: mode}, wechattest.Config{})
		grant := fetch(t, client, false)
		if grant.Life != 2*time.Hour || !sim.AliveAt(grant.Value.Reveal(), time.Now()) {
			t.Errorf("%s: a life of %v, alive %v", mode, grant.Life, sim.AliveAt(grant.Value.Reveal(), time.Now()))
		}
		if history := sim.History(); len(history) != 1 || history[0].Endpoint != endpoint {
			t.Errorf("%s: the record is %+v", mode, history)
		}
	}
}

func TestStableIsTheDefault(t *testing.T) {
	client, sim := simulate(t, wechat.Config{}, wechattest.Config{})
	fetch(t, client, false)
	if sim.Requests(wechattest.Stable) != 1 {
		t.Error("the stable endpoint was not asked")
	}
}

func TestStableFetchBeforeTheWindowBringsTheSameTokenWithItsTrueRemainder(t *testing.T) {
	now := time.Now()
	client, _ := simulate(t, wechat.Config{}, wechattest.Config{Now: func() time.Time { return now }})
	first := fetch(t, client, false)
	now = now.Add(time.Hour)
	if second := fetch(t, client, false); second.Value != first.Value || second.Life != time.Hour {
		t.Errorf("same %v, life %v", second.Value == first.Value, second.Life)
	}
	now = now.Add(time.Hour - client.Traits().Ahead)
	if third := fetch(t, client, false); third.Value == first.Value || third.Life != 2*time.Hour {
		t.Errorf("at the default moment of refreshing: same %v, life %v", third.Value == first.Value, third.Life)
	}
}

func TestForceKillsTheTokenWhereItCan(t *testing.T) {
	client, sim := simulate(t, wechat.Config{}, wechattest.Config{})
	first := fetch(t, client, false)
	second := fetch(t, client, true)
	if second.Value == first.Value || sim.AliveAt(first.Value.Reveal(), time.Now()) {
		t.Error("force did not kill the token")
	}

	client, sim = simulate(t, wechat.Config{Mode: wechat.Classic}, wechattest.Config{})
	_, err := client.Fetch(t.Context(), token.FetchRequest{Force: true})
	if f := failure(t, err); f.Outcome != token.OutcomeNone || f.Class != token.Bug || f.Written {
		t.Errorf("classic: %+v", f)
	}
	if sim.Requests(wechattest.Classic) != 0 {
		t.Error("classic: a request was made")
	}
}

func TestHooksSurroundTheRequest(t *testing.T) {
	for mode, endpoint := range modes {
		client, sim := simulate(t, wechat.Config{Mode: mode}, wechattest.Config{})
		var events []string
		_, err := client.Fetch(t.Context(), token.FetchRequest{
			BeforeWrite: func() error {
				if sim.Requests(endpoint) != 0 {
					t.Error("the request was there before BeforeWrite")
				}
				events = append(events, "before")
				return nil
			},
			AfterWrite: func() { events = append(events, "after") },
		})
		if err != nil || len(events) != 2 || events[0] != "before" || events[1] != "after" {
			t.Errorf("%s: %v, %v", mode, events, err)
		}

		_, err = client.Fetch(t.Context(), token.FetchRequest{BeforeWrite: func() error { return errors.New("too late") }})
		if f := failure(t, err); f.Outcome != token.OutcomeNone || f.Written || f.Code != "not_written" {
			t.Errorf("%s: held back: %+v", mode, f)
		}
		if n := sim.Requests(endpoint); n != 1 {
			t.Errorf("%s: %d requests, want 1", mode, n)
		}
	}
}

func TestFaultAfterTheWriteLeavesTheOutcomeUnknownAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	for mode, endpoint := range modes {
		for _, when := range []wechattest.When{wechattest.Before, wechattest.After} {
			for kind, code := range map[wechattest.Kind]string{
				wechattest.Hang: "timeout", wechattest.Drop: "connection_lost", wechattest.Garbage: "malformed",
				wechattest.Truncated: "truncated", wechattest.Status: "http_502", wechattest.Errcode: "-1",
			} {
				t.Run(fmt.Sprintf("%s, %s %s processing", mode, kind, when), func(t *testing.T) {
					t.Parallel()
					cfg := wechat.Config{Mode: mode}
					if kind == wechattest.Hang {
						cfg.HTTP.Timeout = 500 * time.Millisecond
					}
					client, sim := simulate(t, cfg, wechattest.Config{})
					if err := sim.AddFault(wechattest.Fault{Kind: kind, When: when, Times: 1, Status: 502, Code: -1}); err != nil {
						t.Fatal(err)
					}
					f := fail(t, t.Context(), client)
					if f.Outcome != token.OutcomeUnknown || !f.Written || f.Code != code {
						t.Errorf("%+v", f)
					}
					if n := sim.Requests(endpoint); n != 1 {
						t.Errorf("%d requests, want 1", n)
					}
				})
			}
		}
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	client, sim := simulate(t, wechat.Config{}, wechattest.Config{})
	if err := sim.AddFault(wechattest.Fault{Kind: wechattest.Hang}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var fetching sync.WaitGroup
	fetching.Go(func() {
		if f := fail(t, ctx, client); f.Outcome != token.OutcomeUnknown || f.Code != "canceled" {
			t.Errorf("%+v", f)
		}
	})
	if err := sim.Await(t.Context(), func() bool { return sim.Requests(wechattest.Stable) == 1 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	fetching.Wait()
}

func TestUnreachableUpstreamWasNotWrittenTo(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:1", wechat.Config{HTTP: upstream.Config{DialTimeout: time.Second}})
	if f := fail(t, t.Context(), client); f.Outcome != token.OutcomeNone || f.Class != token.Unreachable || f.Written {
		t.Errorf("%+v", f)
	}
	if _, err := client.Probe(t.Context(), token.NewSecret("10_some")); failure(t, err).Class != token.Unreachable {
		t.Errorf("the probe: %v", err)
	}
}

func TestBaseURLMayHaveAPath(t *testing.T) {
	sim, err := wechattest.New(wechattest.Config{Accounts: []wechattest.Account{{AppID: appid, Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/gateway/wx", sim))
	defer server.Close()
	for mode := range modes {
		client := newClient(t, server.URL+"/gateway/wx/", wechat.Config{Mode: mode})
		if health, err := client.Probe(t.Context(), fetch(t, client, false).Value); err != nil || health != token.Alive {
			t.Errorf("%s: %q, %v", mode, health, err)
		}
	}
}

func TestProbeTellsTheLivingFromTheDead(t *testing.T) {
	now := time.Now()
	client, sim := simulate(t, wechat.Config{Mode: wechat.Classic}, wechattest.Config{Now: func() time.Time { return now }})
	probe := func(value token.Secret, want token.Health) {
		t.Helper()
		if got, err := client.Probe(t.Context(), value); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	first := fetch(t, client, false).Value
	probe(first, token.Alive)
	probe(token.NewSecret("10_never & never"), token.Dead) // 40014
	sim.Kill(first.Reveal())
	probe(first, token.Dead) // 40001
	second := fetch(t, client, false).Value
	now = now.Add(2 * time.Hour)
	probe(second, token.Dead) // 42001
}

func TestProbeThatLearnsNothingIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		class  token.Class
		code   string
	}{
		"busy":         {200, `{"errcode":-1,"errmsg":"system error"}`, token.Transient, "-1"},
		"daily quota":  {200, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, token.DailyQuota, "45009"},
		"minute quota": {200, `{"errcode":45011}`, token.MinuteQuota, "45011"},
		"missing":      {200, `{"errcode":41001}`, token.Bug, "41001"},
		"unauthorised": {200, `{"errcode":48001}`, token.Human, "48001"},
		"limited":      {200, `{"errcode":50002}`, token.Human, "50002"},
		"unknown code": {200, `{"errcode":12345}`, token.Transient, "12345"},
		"fetch's code": {200, `{"errcode":40164}`, token.Transient, "40164"},
		"empty object": {200, `{}`, token.Bug, "malformed"},
		"no list":      {200, `{"ip_list":null}`, token.Bug, "malformed"},
		"no JSON":      {200, `<html>`, token.Bug, "malformed"},
		"gateway":      {502, `{"ip_list":[]}`, token.Transient, "http_502"},
	} {
		health, err := answering(t, wechat.Config{}, c.status, c.body).Probe(t.Context(), token.NewSecret("10_some"))
		if err == nil {
			t.Errorf("%s: got %q", name, health)
			continue
		}
		if f := failure(t, err); f.Class != c.class || f.Code != c.code || health != "" {
			t.Errorf("%s: got %+v; want %s, %s", name, f, c.class, c.code)
		}
	}
	health, err := answering(t, wechat.Config{}, 200, `{"errcode":0,"errmsg":"ok"}`).Probe(t.Context(), token.NewSecret("10_some"))
	if err != nil || health != token.Alive {
		t.Errorf("errcode 0: got %q, %v", health, err)
	}
}
