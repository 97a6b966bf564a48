package e2e_test

import (
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// handOverTime is how long nobody may lead after the leader was told to stop.
const handOverTime = 500 * time.Millisecond

func TestStoppedLeaderHandsOverWithoutAFailedCall(t *testing.T) {
	s := newSite(t, 3, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable, classic)
	before := s.fetches()
	published := publishedServiceConfig(t)
	var took []time.Duration
	for range 5 {
		old := s.election.last()
		leader := s.leader(t)
		tr := startTraffic(t, map[string]*grpc.ClientConn{
			everyone:                           dialAll(t, published, s.brokers...),
			everyone + ", without repetitions": dialAll(t, withoutRetries(t, published), s.brokers...),
		}, stable, classic)
		tr.goOn(t)

		told := time.Now()
		leader.signal(t, syscall.SIGTERM)
		next := s.election.next(t, old)
		took = append(took, next.seen.Sub(told))
		if last := took[len(took)-1]; last > handOverTime {
			t.Errorf("%s led %v after %s got SIGTERM, want within %v", next.ID, last, old.ID, handOverTime)
		}
		if code := leader.exit(t); code != 0 {
			t.Errorf("%s ended with exit code %d", leader.id, code)
		}
		tr.goOn(t)
		leader.restart(t)
		s.awaitCandidates(t, 3)
		tr.goOn(t)
		judge(t, s.wechat, tr.end())
	}
	if n := s.fetches() - before; n != 0 {
		t.Errorf("%d fetches although the tokens were healthy", n)
	}
	report(t, "hand-over", took)
}

// withoutRetries takes the repetition of failed calls out of a service config: following health must be enough.
func withoutRetries(t *testing.T, serviceConfig string) string {
	t.Helper()
	var config struct {
		LoadBalancing json.RawMessage  `json:"loadBalancingConfig"`
		HealthCheck   json.RawMessage  `json:"healthCheckConfig"`
		Methods       []map[string]any `json:"methodConfig"`
	}
	if err := json.Unmarshal([]byte(serviceConfig), &config); err != nil {
		t.Fatal(err)
	}
	for _, m := range config.Methods {
		delete(m, "retryPolicy")
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
