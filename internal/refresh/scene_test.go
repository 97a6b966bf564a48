package refresh_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// scene is a cluster in a perfect world, with callers that read every replica each second, for tests that break one thing at one
// moment.
type scene struct {
	*cluster
	t       *testing.T
	name    string
	timing  token.Timing
	readers sync.WaitGroup
}

// play runs a scene in a bubble, with three replicas that hold their first token, and judges it at the end.
func play(t *testing.T, name string, body func(s *scene)) {
	t.Helper()
	playWith(t, simSpec{name: name}, body)
}

func playWith(t *testing.T, spec simSpec, body func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j := newJudge(t)
		spec.timing = token.TimingFor(j.overlap)
		c := newCluster(t, 1, 3, newUpstream(j), spec)
		ctx, leave := context.WithCancel(context.Background())
		s := &scene{cluster: c, t: t, name: spec.name, timing: spec.timing}
		defer func() { // also after a Fatal
			leave()
			s.readers.Wait()
			c.close()
			j.verdict(t)
		}()
		for i := range c.running {
			c.start(i)
		}
		s.readers.Go(func() { s.read(ctx) })
		s.until("every replica holds the first token", 10*time.Second, func() bool { return s.allActive() && s.record().Version == 1 })
		body(s)
	})
}

// read asks every living replica each second, as a caller would, and keeps what it promises.
func (s *scene) read(ctx context.Context) {
	for nap(ctx, time.Second) == nil {
		for i := range s.running {
			inc := s.alive(i)
			if inc == nil {
				continue
			}
			r := s.cluster.read(inc, s.name)
			if r.State == view.Active {
				s.up.judge.promise(r.Record.Value.Reveal(), inc.name, r.TTL)
			}
		}
	}
}

// until waits for a condition, in the bubble's time.
func (s *scene) until(what string, limit time.Duration, met func() bool) {
	s.t.Helper()
	for start := time.Now(); !met(); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > limit {
			s.t.Fatalf("after %v still not: %s; the record is %+v", limit, what, s.record())
		}
	}
}

func (s *scene) record() token.Record { return s.etcd.read(s.name).Record }

// begins returns when attempts were begun.
func (s *scene) begins() []time.Time {
	s.etcd.mu.Lock()
	defer s.etcd.mu.Unlock()
	return append([]time.Time(nil), s.etcd.begins[s.name]...)
}

// allActive reports whether every living replica promises the same version.
func (s *scene) allActive() bool {
	for i := range s.running {
		inc := s.alive(i)
		if inc == nil {
			continue
		}
		if r := inc.view.Token(s.name).Read(); r.State != view.Active || r.Record.Version != s.record().Version {
			return false
		}
	}
	return true
}

// due waits until the scheduled refresh of the first token is a moment away.
func (s *scene) due() {
	lead := s.etcd.leader()
	end, _ := lead.view.Token(s.name).NominalEnd(s.record().Version)
	traits := s.up.traits(s.name)
	policy, err := refresh.Policy{}.Complete(traits, s.timing)
	if err != nil {
		s.t.Fatal(err)
	}
	now := lead.clock.Read()
	in, _ := policy.Due(s.record(), traits, now.Wall, end.Sub(now.At))
	time.Sleep(in - 5*time.Second)
}

// ask puts a call to the present leader's refresher and waits for the answer.
func (s *scene) ask(req token.Request) token.Reply {
	s.t.Helper()
	inc := s.etcd.leader()
	reply := make(chan token.Reply, 1)
	req.Name = s.name
	inc.calls[s.name] <- token.Call{Request: req, Reply: func(r token.Reply) { reply <- r }}
	select {
	case r := <-reply:
		return r
	case <-time.After(time.Hour):
		s.t.Fatal("the leader did not answer within an hour")
		return token.Reply{}
	}
}

// dieHere is what happens at a crash point: the process is gone between two lines.
func dieHere(inc *incarnation) { inc.dies() }

// deposeAndPause takes the lead away and pauses the process, so that it wakes up deposed.
func deposeAndPause(d time.Duration) func(*incarnation) {
	return func(inc *incarnation) {
		inc.cluster.etcd.depose(inc)
		time.Sleep(d)
	}
}
