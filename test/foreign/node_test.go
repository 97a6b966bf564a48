//go:build foreign

package foreign_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

func TestNodeWithTheProtoLoadedAtRunTime(t *testing.T) {
	runNode(t, "grpc.test.js", "shop-watched", "shop-reported")
}

func TestNodeSDKForWeChatWithTheCodeOfItsPage(t *testing.T) {
	runNode(t, "co-wechat-api.test.js", "shop-called", "shop-called-zh")
}

// runNode runs tests that are written for Node.
func runNode(t *testing.T, file string, names ...string) {
	t.Helper()
	s := site.New(t, program, names...)
	env := []string{
		"BROKER_GRPC=" + s.GRPC, "BROKER_HTTP=" + s.HTTP, "WECHAT_URL=" + s.Upstream, "APP_ID=" + site.AppID, "CLIENT_SECRET=" + s.Secret,
	}
	r := runIn(t, "node", env, "node", "--test", "--test-reporter=spec", file)
	if t.Log(r.out); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
}
