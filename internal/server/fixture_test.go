package server_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tokens of every world: one of an idempotent upstream, one of a rotating one.
const (
	stable  = "shop.stable"
	classic = "shop.classic"
	overlap = 5 * time.Minute
	window  = 4 * time.Minute // W of that overlap
)

var shanghai = time.FixedZone("Asia/Shanghai", 8*3600)

func specs() []view.Spec {
	return []view.Spec{
		{Name: stable, Traits: token.Traits{Kind: "wechat stable", MaxLife: 2 * time.Hour, Force: true, Calendar: shanghai}},
		{
			Name:   classic,
			Traits: token.Traits{Kind: "wechat classic", MaxLife: 2 * time.Hour, Rotating: true, Overlap: overlap, Calendar: shanghai},
			Timing: token.TimingFor(overlap),
		},
	}
}

// world is a server, and everything around it in the hands of the test.
type world struct {
	tb     testing.TB
	clock  *clock.Clock
	view   *view.View
	leader *leader
	votes  *votes
	plans  map[string]server.Plan
	timing token.Timing // of the quiet waits; zero: there are none
	log    *logtest.Buffer
	server *server.Server

	mu       sync.Mutex // held while write changes what follows
	revision int64
	records  map[string]token.Record
}

// newWorld returns a world whose view has loaded an empty store, and was proved current just now.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := newBlankWorld(tb, clock.New(), server.Config{})
	w.load()
	return w
}

// newBlankWorld returns a world that has not heard of its store.
func newBlankWorld(tb testing.TB, clk *clock.Clock, cfg server.Config) *world {
	tb.Helper()
	w := &world{
		tb: tb, clock: clk, view: view.New(view.Config{Clock: clk}), leader: &leader{}, votes: newVotes(), plans: map[string]server.Plan{},
		log: &logtest.Buffer{}, records: map[string]token.Record{},
	}
	if err := w.view.Configure(specs()); err != nil {
		tb.Fatal(err)
	}
	cfg.ReplicaID, cfg.Address, cfg.Version = "a", "a.example:7443", "v1.2.3"
	cfg.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.server = server.New(cfg, w.view, w.leader, w.votes, planner{w})
	return w
}

// load has the view read the whole store.
func (w *world) load() {
	w.revision++
	var changes []view.Change
	for name, rec := range w.records {
		changes = append(changes, view.Change{Name: name, Record: rec})
	}
	sent := w.clock.Read()
	w.view.Load(0, w.revision, w.revision, changes)
	w.view.Synced(sent, w.revision)
}

// prove renews the proof that the view is current.
func (w *world) prove() {
	w.tb.Helper()
	if !w.view.Synced(w.clock.Read(), w.revision) {
		w.tb.Fatal("the proof was not accepted")
	}
}

// stayInSync renews the proof each second, until the returned function is called.
func (w *world) stayInSync() (stop func()) {
	ticker, done := time.NewTicker(time.Second), make(chan struct{})
	var proving sync.WaitGroup
	proving.Go(func() {
		for {
			select {
			case <-ticker.C:
				w.mu.Lock()
				w.view.Synced(w.clock.Read(), w.revision)
				w.mu.Unlock()
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		proving.Wait()
	}
}

// write changes a record as the store's watch would tell it.
func (w *world) write(name string, change func(*token.Record)) {
	w.mu.Lock() // timers of a bubble run one after the other, and no two of them synchronise
	defer w.mu.Unlock()
	rec := w.records[name]
	change(&rec)
	w.records[name] = rec
	w.revision++
	w.view.Apply(w.revision, w.revision, []view.Change{{Name: name, Record: rec}})
}

// commit writes the next version, issued now; the view gives it life from now on.
func (w *world) commit(name string, life time.Duration) {
	w.write(name, func(rec *token.Record) {
		rec.Version++
		rec.Value = token.NewSecret(value(name, rec.Version))
		rec.IssuedAt, rec.Life = w.clock.Wall(), life+view.DefaultSkew
		rec.Pending, rec.Doubt, rec.Condemned, rec.Failures = nil, false, false, 0
	})
}

// force writes the next version of the stable token as a forced refresh brings it.
func (w *world) force() {
	w.commit(stable, time.Hour)
	w.write(stable, func(rec *token.Record) { rec.ForcedVersion = rec.Version })
}

// begin writes an intent.
func (w *world) begin(name string) {
	w.write(name, func(rec *token.Record) { rec.Pending = &token.Intent{Attempt: "attempt", At: w.clock.Wall()} })
}

// value is what a version of a token looks like; no text may contain "SECRET".
func value(name string, version int64) string {
	return "SECRET-" + name + "-" + strings.Repeat("v", int(version))
}

// leader answers as the test says.
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

// replies makes the leader answer with one reply.
func (l *leader) replies(reply token.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = func(context.Context, token.Request) (token.Reply, error) { return reply, nil }
}

func (l *leader) questions() []token.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// votes is an election.
type votes struct {
	mu      sync.Mutex
	now     server.Election
	leading int64
	changed chan struct{}
	hold    func() // called by Election, if set
}

func newVotes() *votes { return &votes{changed: make(chan struct{})} }

func (v *votes) Election() server.Election {
	if v.hold != nil {
		v.hold()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *votes) Leading() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.leading
}

func (v *votes) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// lead has this replica lead in a term; in none if 0.
func (v *votes) lead(term int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leading = term
}

// elect makes the first candidate the leader.
func (v *votes) elect(candidates ...server.Candidate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = server.Election{Candidates: candidates}
	if len(candidates) > 0 {
		v.now.Leader = &candidates[0]
	}
	close(v.changed)
	v.changed = make(chan struct{})
}

// planner tells a world's plans, and the quiet waits that package refresh keeps to.
type planner struct{ *world }

func (p planner) Plan(name string, leader *server.Candidate) server.Plan {
	plan := p.plans[name]
	if t := p.view.Token(name); t != nil && leader != nil {
		rec, now := *t.Read().Record, time.Now()
		plan.Quiet = refresh.QuietUntil(rec, t.Traits(), p.timing, leader.Since, now)
		plan.UnderWay = refresh.UnderWay(rec, p.timing, now)
	}
	return plan
}

// refused checks an error's code and reason and that it shows no token, and returns its details.
func refused(t *testing.T, err error, code codes.Code, reason string) (info *errdetails.ErrorInfo, retry time.Duration) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code {
		t.Fatalf("error is %v, want code %v", err, code)
	}
	if strings.Contains(st.String(), "SECRET") {
		t.Fatalf("error shows a token: %v", st)
	}
	info = &errdetails.ErrorInfo{}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		}
	}
	if info.GetReason() != reason {
		t.Fatalf("reason is %q, want %q: %v", info.GetReason(), reason, err)
	}
	if reason != "" && info.GetDomain() != "tokenbroker" {
		t.Fatalf("domain is %q", info.GetDomain())
	}
	return info, retry
}
