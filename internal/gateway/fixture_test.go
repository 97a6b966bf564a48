package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// The tokens of every site. Two are of one account, in both modes; one may not be had by the client; one has no counterpart.
const (
	stable  = "shop.stable"
	classic = "shop.classic"
	foreign = "other"
	lonely  = "lonely"
	hasty   = "hasty" // classic, with an overlap of 1 s: promised for 0.8 s after each proof
	brief   = "brief" // classic, with an overlap of 4 s
	appid   = "wxshop"
	secret  = "0123456789abcdef"
)

var shanghai = time.FixedZone("Asia/Shanghai", 8*3600)

// stableTraits and classicTraits are WeChat's.
func stableTraits(appid string) token.Traits {
	return token.Traits{Kind: "wechat stable", AppID: appid, MaxLife: 2 * time.Hour, Force: true, Calendar: shanghai}
}

func classicTraits(appid string) token.Traits {
	return token.Traits{
		Kind: "wechat classic", AppID: appid, MaxLife: 2 * time.Hour, Rotating: true, Overlap: 5 * time.Minute, Calendar: shanghai,
	}
}

// shortTraits are those of a simulator whose time passes quickly.
func shortTraits(appid string, overlap time.Duration) token.Traits {
	t := classicTraits(appid)
	t.MaxLife, t.Overlap = 24*overlap, overlap
	return t
}

func specs() []view.Spec {
	return []view.Spec{
		{Name: stable, Traits: stableTraits(appid)},
		{Name: classic, Traits: classicTraits(appid), Timing: token.TimingFor(5 * time.Minute)},
		{Name: foreign, Traits: stableTraits("wxother")},
		{Name: hasty, Traits: shortTraits("wxhasty", time.Second), Timing: token.TimingFor(time.Second)},
		{Name: brief, Traits: shortTraits("wxbrief", 4*time.Second), Timing: token.TimingFor(4 * time.Second)},
		{Name: lonely, Traits: classicTraits("wxlonely"), Timing: token.TimingFor(5 * time.Minute)},
	}
}

// site is a gateway before a gRPC server with a view in the hands of the test.
type site struct {
	tb      testing.TB
	url     string
	http    *http.Client
	clock   *clock.Clock
	view    *view.View
	leader  *leader
	clients *gateway.Clients
	gateway *gateway.Gateway
	metrics *prometheus.Registry
	log     *logtest.Buffer

	stopServer, stopGateway context.CancelFunc
	serverEnded             chan error
	gatewayEnded            chan error

	mu       sync.Mutex
	revision int64
	records  map[string]token.Record
}

// option changes what a site is made of.
type option func(*gateway.Config, *server.Config)

func anyMode(g *gateway.Config, _ *server.Config) { g.AnyMode = true }

// newSite runs a site until the test ends. Its view is loaded, and empty.
func newSite(tb testing.TB, options ...option) *site {
	tb.Helper()
	c := clock.New()
	s := &site{
		tb: tb, clock: c, view: view.New(view.Config{Clock: c}), leader: &leader{}, log: &logtest.Buffer{}, records: map[string]token.Record{},
		clients: gateway.NewClients([]gateway.Client{
			{Name: "till", SecretSHA256: sha256.Sum256([]byte(secret)), Tokens: []string{"shop.*", lonely}},
		}),
		metrics: prometheus.NewRegistry(), serverEnded: make(chan error, 1), gatewayEnded: make(chan error, 1),
	}
	if err := s.view.Configure(specs()); err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	front, back := gateway.Config{Admission: s.clients, Logger: log}, server.Config{ReplicaID: "a", Address: "a:7700", Version: "v1", Logger: log}
	for _, o := range options {
		o(&front, &back)
	}
	inner := bufconn.Listen(256 << 10)
	conn, err := grpc.NewClient("passthrough:///replica", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inner.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	front.Conn = conn
	if s.gateway, err = gateway.New(front); err != nil {
		tb.Fatal(err)
	}
	s.metrics.MustRegister(s.gateway)
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{}
	s.url, s.http = "http://"+outer.Addr().String(), &http.Client{Transport: transport}
	var running sync.WaitGroup
	var serving, passing context.Context
	serving, s.stopServer = context.WithCancel(context.Background())
	passing, s.stopGateway = context.WithCancel(context.Background())
	running.Go(func() { s.serverEnded <- server.New(back, s.view, s.leader, votes{}, plans{}).Run(serving, inner) })
	running.Go(func() { s.gatewayEnded <- s.gateway.Run(passing, outer) })
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		s.stopGateway()
		s.stopServer()
		running.Wait()
		_ = conn.Close()
	})
	s.load()
	return s
}

func (s *site) load() {
	s.revision++
	var changes []view.Change
	for name, rec := range s.records {
		changes = append(changes, view.Change{Name: name, Record: rec})
	}
	sent := s.clock.Read()
	s.view.Load(0, s.revision, s.revision, changes)
	s.view.Synced(sent, s.revision)
}

// prove renews the proof that the view is current, and with it the promise on classic tokens.
func (s *site) prove() { s.view.Synced(s.clock.Read(), s.revision) }

// write changes a record as the store's watch would tell it.
func (s *site) write(name string, change func(*token.Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.records[name]
	change(&rec)
	s.records[name] = rec
	s.revision++
	s.view.Apply(s.revision, s.revision, []view.Change{{Name: name, Record: rec}})
}

// commit writes the next version, issued now.
func (s *site) commit(name string, life time.Duration) {
	s.write(name, func(rec *token.Record) {
		rec.Version++
		rec.Value = token.NewSecret(value(name, rec.Version))
		rec.IssuedAt, rec.Life = s.clock.Wall(), life+view.DefaultSkew
		rec.Pending, rec.Doubt, rec.Condemned, rec.Failures = nil, false, false, 0
	})
}

// value is what a version of a token looks like.
func value(name string, version int64) string { return fmt.Sprintf("SECRET-%s-%d", name, version) }

// response is what came back.
type response struct {
	*http.Response
	body string
}

// do makes a request; body is sent if it is not empty. Headers come as pairs.
func (s *site) do(method, path, body string, headers ...string) response {
	s.tb.Helper()
	resp, err := s.try(method, path, body, headers...)
	if err != nil {
		s.tb.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

func (s *site) try(method, path, body string, headers ...string) (response, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, reader)
	if err != nil {
		return response{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	req.Host = req.Header.Get("Host") // that of the URL if empty
	resp, err := s.http.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return response{resp, string(text)}, err
}

// get is do for a GET that must be answered with a status and JSON.
func (s *site) get(path string, code int, headers ...string) map[string]any {
	s.tb.Helper()
	return s.do(http.MethodGet, path, "", headers...).json(s.tb, code)
}

func (r response) json(tb testing.TB, code int) map[string]any {
	tb.Helper()
	if r.StatusCode != code || r.Header.Get("Content-Type") != "application/json" {
		tb.Fatalf("%d, %s, want %d:\n%s", r.StatusCode, r.Header.Get("Content-Type"), code, r.body)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		tb.Errorf("Cache-Control is %q", r.Header.Get("Cache-Control"))
	}
	decoder := json.NewDecoder(strings.NewReader(r.body))
	decoder.UseNumber()
	var m map[string]any
	if err := decoder.Decode(&m); err != nil {
		tb.Fatalf("%v:\n%s", err, r.body)
	}
	return m
}

// sample is the value of one series, 0 if there is none; labels come as name=value.
func (s *site) sample(name string, labels ...string) float64 {
	s.tb.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName()+"="+l.GetValue())
			}
			if family.GetName() == name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// at follows keys and indices into decoded JSON; nil where there is nothing.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// leader answers as the test says; without an answer it never does.
type leader struct {
	mu     sync.Mutex
	answer func(context.Context, token.Request) (token.Reply, error)
	asked  []token.Request
}

func (l *leader) Ask(ctx context.Context, req token.Request) (token.Reply, error) {
	l.mu.Lock()
	l.asked = append(l.asked, req)
	answer := l.answer
	l.mu.Unlock()
	if answer == nil {
		<-ctx.Done()
		return token.Reply{}, ctx.Err()
	}
	return answer(ctx, req)
}

func (l *leader) will(answer func(context.Context, token.Request) (token.Reply, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (l *leader) questions() []token.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]token.Request(nil), l.asked...)
}

// votes is an election without candidates.
type votes struct{}

func (votes) Election() server.Election { return server.Election{} }
func (votes) Leading() int64            { return 0 }
func (votes) Changed() <-chan struct{}  { return nil }

type plans struct{}

func (plans) Plan(string, *server.Candidate) server.Plan { return server.Plan{} }
