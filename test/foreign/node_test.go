//go:build foreign

package foreign_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

func TestNodeWithTheProtoLoadedAtRunTime(t *testing.T) {
	s := site.New(t, program, "shop-watched", "shop-reported")
	env := []string{"BROKER_GRPC=" + s.GRPC, "WECHAT_URL=" + s.Upstream}
	r := runIn(t, "node", env, "node", "--test", "--test-reporter=spec", "grpc.test.js")
	if t.Log(r.out); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
}
