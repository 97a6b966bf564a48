package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// post is a broker that asks who is calling. shop may get a, boss may do everything.
type post struct {
	*broker
	site  *site
	audit string
	conn  *grpc.ClientConn
	// sections are what stands in its configuration for that.
	sections string
}

const (
	shopPass = "shop-pass-0123456789abcdef0123456789abcdef"
	bossPass = "boss-pass-0123456789abcdef0123456789abcdef"
)

func newPost(t *testing.T, more string) *post {
	t.Helper()
	s := newSite(t)
	p := &post{site: s, audit: filepath.Join(s.dir, "audit.log")}
	var lines strings.Builder
	for name, pass := range map[string]string{"shop": shopPass, "boss": bossPass} {
		fmt.Fprintf(&lines, "%s %x\n", name, sha256.Sum256([]byte(pass)))
	}
	file := filepath.Join(s.dir, "tokens")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.sections = "authentication: {token_file: " + file + "}\naudit: {file: " + p.audit + `, when_full: refuse}
policy:
- {identities: ["token:shop"], tokens: [a], verbs: [get]}
- {identities: ["token:boss"], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}
` + more
	p.broker = s.start(t, "one", tokenA+tokenB+p.sections)
	var err error
	if p.conn, err = grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	if err := p.get(t, bossPass, "a"); err != nil {
		t.Fatal(err)
	}
	return p
}

// get asks for a token with somebody's pass, and waits for it if it is still to come.
func (p *post) get(t *testing.T, pass, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		call := ctx
		if pass != "" {
			call = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+pass)
		}
		_, err := tokenbrokerv1.NewTokenBrokerServiceClient(p.conn).GetToken(call, &tokenbrokerv1.GetTokenRequest{Name: name}, grpc.WaitForReady(true))
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
	}
}

// hangUp has the broker read its configuration anew, with other sections, and waits until it says so.
func (p *post) hangUp(t *testing.T, sections, say string) {
	t.Helper()
	p.configure(t, p.site, "one", tokenA+tokenB+sections)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.err.await(t, say)
}

// fetch gets a page with somebody's pass.
func (p *post) fetch(t *testing.T, path, pass string) (code int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if pass != "" {
		req.Header.Set("Authorization", "Bearer "+pass)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func TestCallersHaveWhatThePolicyGivesThemAndItIsRecorded(t *testing.T) {
	p := newPost(t, "")
	for _, c := range []struct {
		pass, name string
		code       codes.Code
	}{
		{shopPass, "a", codes.OK}, {shopPass, "b", codes.PermissionDenied}, {shopPass, "nothere", codes.PermissionDenied}, {bossPass, "nothere", codes.NotFound},
		{"", "a", codes.PermissionDenied}, {"wrong", "a", codes.Unauthenticated},
	} {
		if err := p.get(t, c.pass, c.name); status.Code(err) != c.code {
			t.Errorf("%q of %.9s: %v", c.name, c.pass, err)
		}
	}
	data, err := os.ReadFile(p.audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"replica":"one","phase":"done","who":["token:shop"],"method":"/tokenbroker.v1.TokenBrokerService/GetToken","verb":"get","token":"a","version":1,"decision":"allow","rule":"policy[0]","code":"OK","peer":"127.0.0.1:`,
		`"who":["token:shop"],"method":"/tokenbroker.v1.TokenBrokerService/GetToken","verb":"get","token":"nothere","decision":"deny","code":"PermissionDenied"`,
		`"who":["anonymous"]`, `"who":[],`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not recorded:\n%s", want, data)
		}
	}
	for _, secret := range []string{shopPass, bossPass, "wrong", secretValue} {
		if strings.Contains(string(data)+p.err.String(), secret) {
			t.Error("a secret is recorded or logged")
		}
	}
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestMetricsAreForWhoMaySeeTheStatusOfAllTokensAndProbesForEverybody(t *testing.T) {
	p := newPost(t, "")
	for pass, want := range map[string]int{bossPass: 200, shopPass: 403, "": 403, "wrong": 401} {
		code, header, body := p.fetch(t, "/metrics", pass)
		if code != want || (want == 200) != strings.Contains(body, "tokenbroker_token_state{") || (want == 401) != (header.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("with %.9q: %d, %.200s", pass, code, body)
		}
		for _, path := range []string{"/livez", "/readyz"} {
			if code, _, body := p.fetch(t, path, pass); code != http.StatusOK {
				t.Errorf("%s with %.9q: %d, %s", path, pass, code, body)
			}
		}
	}
	if _, _, body := p.fetch(t, "/metrics", bossPass); !strings.Contains(body, `tokenbroker_guard_refused_total{kind="token",reason="denied"} 1`) ||
		!strings.Contains(body, "tokenbroker_audit_failing 0") {
		t.Errorf("the metrics are\n%s", body)
	}
}

func TestLimitsOfTheConfigurationAreThoseOfCallers(t *testing.T) {
	p := newPost(t, "limits: {rate: 1, burst: 30}\n")
	var refusedOnce bool
	for range 60 {
		if code, header, _ := p.fetch(t, "/metrics", bossPass); code == http.StatusTooManyRequests {
			refusedOnce = header.Get("Retry-After") != ""
		}
	}
	if !refusedOnce {
		t.Error("60 requests at once were answered, although 30 may be made")
	}
	p.hangUp(t, strings.Replace(p.sections, "rate: 1, burst: 30", "rate: 100000, burst: 100000", 1), "reloaded the configuration")
	for range 60 {
		if code, _, body := p.fetch(t, "/metrics", bossPass); code != http.StatusOK {
			t.Fatalf("after the limits were lifted: %d, %s", code, body)
		}
	}
}

func TestHangupTakesOverThePolicyAndOpensTheAuditLogAnew(t *testing.T) {
	p := newPost(t, "")
	if err := os.Rename(p.audit, p.audit+".1"); err != nil {
		t.Fatal(err)
	}
	p.hangUp(t, strings.Replace(p.sections, "tokens: [a]", "tokens: [b]", 1), "reloaded the configuration")
	if err := p.get(t, shopPass, "a"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("what was taken away: %v", err)
	}
	if err := p.get(t, shopPass, "b"); err != nil {
		t.Errorf("what was given: %v", err)
	}
	data, err := os.ReadFile(p.audit)
	if err != nil || strings.Count(string(data), "token:shop") != 2 {
		t.Errorf("the new audit log is %q, %v", data, err)
	}
	p.hangUp(t, strings.Replace(p.sections, "verbs: [get]", "verbs: [got]", 1), "the new configuration is wrong")
	p.hangUp(t, "", "whether callers are asked who they are is decided at the start")
	if err := p.get(t, shopPass, "a"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("after two configurations that cannot be taken over: %v", err)
	}
	if err := p.get(t, shopPass, "b"); err != nil {
		t.Errorf("after two configurations that cannot be taken over: %v", err)
	}
}

func TestReplicaWithoutAGateDoesNotGetOneByAReload(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA)
	b.configure(t, s, "one", tokenA+`policy: [{identities: [anonymous], tokens: [zzz], verbs: [get]}]`+"\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.err.await(t, "is decided at the start")
	ask(t, b.grpc, "a")
}

func TestAuditLogThatCannotBeOpenedKeepsAReplicaFromStarting(t *testing.T) {
	p := newPost(t, "")
	if code := p.exit(t); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if err := os.Remove(p.audit); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.audit, 0o700); err != nil {
		t.Fatal(err)
	}
	again := launch(t, nil, "serve", "-c", p.file)
	if code := <-again.code; code != exitFailed || !strings.Contains(again.err.String(), "opening the audit log") {
		t.Errorf("exit code %d, %s", code, again.err)
	}
}
