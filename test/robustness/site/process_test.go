package site_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// lives returns what the history tells of one process.
func lives(h *history.Recorder, id string) []string {
	var told []string
	for _, e := range h.Events() {
		if e.Kind == history.Process && (e.Replica == id || e.Actor == id) {
			told = append(told, strings.TrimSpace(e.Code+" "+e.Detail))
		}
	}
	return told
}

func TestAProcessThatIsEndedComesBackWithItsAddresses(t *testing.T) {
	t.Parallel()
	s, h := start(t)
	b, m := s.Brokers[0], s.Members[0]
	if err := errors.Join(b.Kill(), m.Kill()); err != nil {
		t.Fatal(err)
	}
	if b.Running() || m.Running() {
		t.Errorf("after a kill the broker runs: %v, the member: %v", b.Running(), m.Running())
	}
	if err := get(t, b, stable, ample); status.Code(err) != codes.Unavailable {
		t.Errorf("a killed broker: %v, want UNAVAILABLE", err)
	}
	if err := b.Pause(); !errors.Is(err, site.ErrNotRunning) {
		t.Errorf("pausing a killed broker: %v, want ErrNotRunning", err)
	}
	if err := errors.Join(b.Start(t.Context()), m.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	serves(t, b, stable)
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(b.Kill(), b.Resume(), b.Stop(t.Context())); err != nil {
		t.Errorf("ending a process that has ended: %v", err)
	}
	if diff := cmp.Diff([]string{"started", "ended was killed", "started", "ended shut down"}, lives(h, b.ID)); diff != "" {
		t.Errorf("the broker's lives (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"started", "ended was killed", "started"}, lives(h, m.Name)); diff != "" {
		t.Errorf("the member's lives (-want +got):\n%s", diff)
	}
}

func TestAPausedProcessAnswersNobodyUntilItIsResumed(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	b := s.Brokers[0]
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, b, stable, soon); status.Code(err) != codes.DeadlineExceeded || !b.Running() {
		t.Errorf("a paused broker: %v, running: %v; want DEADLINE_EXCEEDED, true", err, b.Running())
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, b, stable, ample); err != nil {
		t.Errorf("a resumed broker: %v", err)
	}
	// Also what is paused can be told to end.
	if err := errors.Join(b.Pause(), b.Stop(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestASiteThatCannotStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Extra = "snapshots: {file: $DIR/$ID}"
	_, err := site.Start(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "snapshots") {
		t.Fatalf("starting with a wrong configuration: %v, want a broker's own words", err)
	}
	for _, id := range []string{"broker-1", "broker-2", "broker-3", "etcd-1", "etcd-2", "etcd-3"} {
		if got := lives(cfg.History, id); len(got)%2 != 0 {
			t.Errorf("the lives of %s: %q", id, got)
		}
	}
}

func TestABrokenSiteClosesInGoodOrder(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	if err := errors.Join(
		s.WeChat.AddFault(wechattest.Fault{Kind: wechattest.Hang}),
		s.Members[0].Kill(), s.Members[1].Pause(), s.Brokers[0].Pause(), s.Brokers[1].Kill(),
	); err != nil {
		t.Fatal(err)
	}
	s.Members[2].Peers.Cut()
	s.Brokers[2].Etcd.Hold(netfault.Both)
	s.Brokers[2].WeChat.Cut()
}

func TestAProcessThatEndsByItselfIsAFaultOfTheRun(t *testing.T) {
	t.Parallel()
	s, h, dir := launch(t)
	b := s.Brokers[1]
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, b.ID+".yaml"), []byte("nonsense: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("starting a broker that cannot run: %v, want its own words", err)
	}
	if err := s.Err(); err == nil || b.Running() {
		t.Errorf("after a crash the site says %v, running: %v; want an error, false", err, b.Running())
	}
	if diff := cmp.Diff([]string{"started", "ended was killed", "started", "ended crashed (exit status 1)"}, lives(h, b.ID)); diff != "" {
		t.Errorf("the broker's lives (-want +got):\n%s", diff)
	}
	// What ends by itself while it runs, or writes of a panic that it survived, is no better.
	if err := os.WriteFile(filepath.Join(dir, s.Brokers[0].ID+".clock"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broker has ended", func(context.Context) bool { return !s.Brokers[0].Running() })
	log, err := os.OpenFile(s.Brokers[2].Log, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("panic: index out of range\n"); err != nil {
		t.Fatal(err)
	}
	log.Close()
	err = s.Close()
	for _, want := range []string{"broker-2 crashed (exit status 1)", "broker-1 crashed (exit status 2)", "broker-3.log:", "index out of range"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("closing the site: %v, want also %q", err, want)
		}
	}
}
