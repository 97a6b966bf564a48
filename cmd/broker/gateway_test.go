package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// gatewaySections are appended to a configuration: a client whose secret is "till-secret", where everybody else may have everything.
const (
	tillHash        = "f006509cb63476fb1f057fd2a307f8ebdf839503f055e587051ed3f4ee7bd970"
	gatewaySections = `
gateway: {listen: "127.0.0.1:0"}
policy:
  - {identities: [anonymous], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}
clients:
  - {name: till, secret_sha256: ` + tillHash + `, tokens: [a]}
`
)

var gatewayListens = regexp.MustCompile(`gateway=(\S+)`)

func (b *broker) gateway(t *testing.T) string {
	t.Helper()
	return "http://" + gatewayListens.FindStringSubmatch(b.err.await(t, "msg=starting"))[1]
}

func TestReplicaServesTheAPIOverHTTPToo(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA+gatewaySections)
	want := ask(t, b.grpc, "a").GetAccessToken()
	var got struct {
		Token struct{ AccessToken string }
	}
	if _, text, _ := strings.Cut(page(t, b.gateway(t)+"/v1/tokens/a"), "\n"); json.Unmarshal([]byte(text), &got) != nil || got.Token.AccessToken != want {
		t.Errorf("got %s", text)
	}
	const call = "/cgi-bin/token?grant_type=client_credential&appid=wx1&secret="
	if text := page(t, b.gateway(t)+call+"till-secret"); !strings.Contains(text, `"errcode":40013`) { // a is stable
		t.Errorf("got %s", text)
	}
	if text := page(t, b.http+"/metrics"); !strings.Contains(text, `tokenbroker_gateway_requests_total{code="200",path="/v1/tokens/{name}"} 1`) {
		t.Errorf("the metrics are\n%s", text)
	}
	if code := b.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, secret := range []string{want, "till-secret", secretValue} {
		if strings.Contains(b.err.String(), secret) {
			t.Error("the log shows a token or a secret")
		}
	}
}

func TestHangupTakesOverTheClients(t *testing.T) {
	s := newSite(t)
	sections := strings.Replace(gatewaySections, "[a]", "[a, b]", 1)
	b := s.serve(t, "one", tokenA+tokenB+sections)
	want := ask(t, b.grpc, "b").GetAccessToken()
	call := b.gateway(t) + "/cgi-bin/token?grant_type=client_credential&appid=wx2&secret=till-secret"
	if text := page(t, call); !strings.Contains(text, "\n"+`{"access_token":"`+want+`","expires_in":`) {
		t.Errorf("got %s", text)
	}
	b.configure(t, s, "one", tokenA+strings.Replace(tokenB, "name: b,", "name: b, daily_budget: 77,", 1)+
		strings.Replace(sections, tillHash[:8], "00000000", 1))
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.err.await(t, "changed=[b]")
	if text := page(t, call); !strings.Contains(text, `"errcode":40125`) {
		t.Errorf("a client that was taken away got %s", text)
	}
}

func TestGatewayThatCannotListenIsReportedAtOnce(t *testing.T) {
	s := newSite(t)
	first := s.serve(t, "one", tokenA+gatewaySections)
	taken := strings.Replace(gatewaySections, "127.0.0.1:0", strings.TrimPrefix(first.gateway(t), "http://"), 1)
	second := &broker{file: filepath.Join(s.dir, "two.yaml")}
	second.configure(t, s, "two", tokenA+taken)
	p := launch(t, nil, "serve", "-c", second.file)
	if code := <-p.code; code != exitFailed || !strings.Contains(p.err.String(), "listening for the gateway") {
		t.Errorf("exit code %d, %s", code, p.err)
	}
}

func TestWhatTheDemonstrationSaysToCopyWorks(t *testing.T) {
	p := launch(t, nil, "dev", "--replicas", "1", "--grpc-port", "0", "--http-port", "0", "--gateway-port", "0", "--etcd-port", "0", "--wechat-port", "0")
	text := p.out.await(t, "Ctrl-C ends it.")
	calls := regexp.MustCompile(`(?m)^  curl '?(http://[^\s']+)'?$`).FindAllStringSubmatch(text, -1)
	if len(calls) != 2 {
		t.Fatalf("%d calls of curl in\n%s", len(calls), text)
	}
	for i, want := range []string{`"name":"demo-stable"`, `{"access_token":"`} {
		if got := page(t, calls[i][1]); !strings.HasPrefix(got, "200 OK") || !strings.Contains(got, want) {
			t.Errorf("curl %s: %s", calls[i][1], got)
		}
	}
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(p.err.String(), regexp.MustCompile(`secret=([0-9a-f]+)`).FindStringSubmatch(text)[1]) {
		t.Error("the log shows the client's secret")
	}
}

// A connection that stays behind would be found as a goroutine at the end.
func TestAFrontThatCannotBeLeavesNoConnection(t *testing.T) {
	registry, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	f, err := newFront(&config{}, &entrance{}, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.conn.Close()
	if _, err := newFront(&config{}, &entrance{}, registry, log); err == nil || !strings.Contains(err.Error(), "the gateway's metrics") {
		t.Errorf("a second one with the same registry: %v", err)
	}
}
