//go:build foreign

package foreign_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

const service = "tokenbroker.v1.TokenBrokerService"

// askGrpcurl runs grpcurl without TLS.
func askGrpcurl(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, nil, grpcurl, append([]string{"-plaintext"}, args...)...)
}

func TestGrpcurlLearnsTheAPIByReflection(t *testing.T) {
	s := site.New(t, program)
	if r := askGrpcurl(t, s.GRPC, "list"); r.code != 0 || !strings.Contains(r.out, service+"\n") || !strings.Contains(r.out, "grpc.health.v1.Health\n") {
		t.Errorf("list: %+v", r)
	}
	if r := askGrpcurl(t, s.GRPC, "describe", service); r.code != 0 || strings.Count(r.out, "rpc ") != 4 {
		t.Errorf("describe: %+v", r)
	}
	r := askGrpcurl(t, "-d", `{"name":"shop"}`, s.GRPC, service+"/GetToken")
	var got struct{ Token site.Token }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 || got.Token != s.Token(t, site.Stable) {
		t.Errorf("GetToken: exit code %d, %v, %s", r.code, err, r.err)
	}
	if r := askGrpcurl(t, "-d", `{"service":"`+service+`"}`, s.GRPC, "grpc.health.v1.Health/Check"); !strings.Contains(r.out, `"SERVING"`) {
		t.Errorf("Check: %+v", r)
	}
}

func TestGrpcurlWorksWithTheProtoFilesAlone(t *testing.T) {
	s := site.New(t, program)
	r := askGrpcurl(t, "-import-path", root+"/proto", "-proto", "tokenbroker/v1/token_broker.proto", s.GRPC, service+"/ListTokens")
	if r.code != 0 || !strings.Contains(r.out, `"name": "shop-classic"`) || strings.Contains(r.out, "accessToken") {
		t.Errorf("ListTokens: %+v", r)
	}
}

func TestGrpcurlShowsWhyACallFailed(t *testing.T) {
	s := site.New(t, program)
	r := askGrpcurl(t, "-format-error", "-d", `{"name":"shop","min_ttl":"10800s"}`, s.GRPC, service+"/GetToken")
	for _, part := range []string{`"code": 9`, "google.rpc.ErrorInfo", `"reason": "MIN_TTL_TOO_LONG"`, `"domain": "tokenbroker"`} {
		if !strings.Contains(r.err, part) {
			t.Errorf("there is no %s in\n%s", part, r.err)
		}
	}
	if r.code != 64+9 { // FAILED_PRECONDITION
		t.Errorf("exit code %d", r.code)
	}
}

func TestGrpcurlFollowsAStreamAcrossARotation(t *testing.T) {
	s := site.New(t, program)
	w := follow(t, grpcurl, "-plaintext", "-d", `{"name":"shop"}`, s.GRPC, service+"/WatchToken")
	w.await(t, `"version": "1"`)
	dead := s.Kill(t, site.Stable)
	report := fmt.Sprintf(`{"name":"shop","version":"%d"}`, dead.Version)
	if r := askGrpcurl(t, "-d", report, s.GRPC, service+"/ReportInvalidToken"); r.code != 0 || !strings.Contains(r.out, `"version": "2"`) {
		t.Errorf("ReportInvalidToken: %+v", r)
	}
	w.await(t, s.Token(t, site.Stable).Value)
}
