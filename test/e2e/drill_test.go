package e2e_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// addresses lists the gRPC addresses of brokers as --server takes them.
func addresses(brokers []*broker) string {
	var all []string
	for _, b := range brokers {
		all = append(all, b.grpc)
	}
	return strings.Join(all, ",")
}

// TestLeakDrillSurvivesTheLeadersDeathInBetween: after two forced refreshes, 30 s apart, whatever was known before is worth nothing.
func TestLeakDrillSurvivesTheLeadersDeathInBetween(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 3, account(stable, "stable", "wx-stable", s.upstream, ""), stable)
	leaked, leader := firstToken(t, s.brokers[0], stable), s.leader(t)
	tr := startTraffic(t, directly(s.others(leader)...), stable)
	tr.goOn(t)

	drill := start(t, nil, program, "refresh", stable, "--force", "--twice", "--yes", "--server", addresses(s.brokers))
	drill.err.await(t, "1 of 2 done")
	leader.kill()
	eventually(t, 2*time.Minute, "the drill ends", func() bool { return !drill.running() })
	if code := drill.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the drill ended with exit code %d", code)
	}
	tr.goOn(t)

	issued := s.wechat.History()
	var forced []wechattest.Issued
	for _, i := range issued {
		if i.Forced {
			forced = append(forced, i)
		}
	}
	if len(issued) != 3 || len(forced) != 2 {
		t.Fatalf("WeChat issued %d tokens, %d by force; want 3 and 2", len(issued), len(forced))
	}
	if apart := forced[1].From.Sub(forced[0].From); apart < 30*time.Second {
		t.Errorf("the forced refreshes were %v apart, want at least 30 s", apart)
	}
	for _, dead := range []string{leaked.GetAccessToken(), forced[0].Token} {
		if s.wechat.Check(dead) == nil {
			t.Error("a token from before the end of the drill is accepted")
		}
	}
	for _, b := range s.others(leader) {
		if got := firstToken(t, b, stable).GetAccessToken(); got != forced[1].Token {
			t.Errorf("%s does not hand out the newest token", b.id)
		}
	}
	judge(t, s.wechat, tr.end(), leaked.GetAccessToken(), forced[0].Token)
	if text := drill.out.String(); !strings.Contains(text, "version") || !strings.Contains(text, "active") {
		t.Errorf("the drill shows:\n%s", text)
	}
}

func TestInterruptedLeakDrillTellsWhatIsDone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 2, account(stable, "stable", "wx-stable", s.upstream, ""), stable)
	leaked := firstToken(t, s.brokers[0], stable)
	drill := start(t, nil, program, "refresh", stable, "--force", "--twice", "--yes", "--server", addresses(s.brokers))
	drill.err.await(t, "less than 30s apart; again in ")
	drill.signal(t, syscall.SIGINT)
	if code := drill.exit(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	for _, part := range []string{"refresh: interrupted", "done     1 of 2 forced refreshes", "go on    broker refresh --force " + stable} {
		if !strings.Contains(drill.err.String(), part) {
			t.Errorf("it does not say %q:\n%s", part, drill.err.String())
		}
	}
	if s.wechat.Check(leaked.GetAccessToken()) == nil {
		t.Error("the token lives, although it says that it is dead")
	}
	if n := s.wechat.Requests(wechattest.Stable); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}

	// Without a terminal nothing is begun that nobody confirmed.
	if r := commandWith(t, stable+"\n", "refresh", stable, "--force", "--twice", "--server", addresses(s.brokers)); r.code != 1 || !strings.Contains(r.err, "give --yes") {
		t.Errorf("without a terminal: exit code %d\n%s", r.code, r.err)
	}
	if n := s.wechat.Requests(wechattest.Stable); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}
