package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// policed is a configuration with a policy. The files that it names do not exist.
const policed = minimal + `
tls: {cert_file: /does/not/exist, key_file: /does/not/exist, client_ca_file: /does/not/exist}
gateway: {listen: "127.0.0.1:0"}
clients: [{name: till, secret_sha256: ` + someHash + `, tokens: [shop]}]
authentication:
  token_file: /does/not/exist
  jwt: [{name: k8s, issuer: "https://cluster.local", audiences: [x], ca_file: /does/not/exist}]
policy:
- {identities: ["spiffe://example.org/ns/web/*"], tokens: [shop], verbs: [get, watch]}
- {identities: ["token:ops", "jwt:k8s:system:*"], tokens: ["*"], verbs: [get, status, resign]}
`

func policyTest(t *testing.T, config string, args ...string) string {
	t.Helper()
	plaintext := "true"
	if strings.Contains(config, "\ntls:") {
		plaintext = ""
	}
	return commandIn(t.Context(), fakeEnvironment(map[string]string{"TOKENBROKER_PLAINTEXT": plaintext}), "127.0.0.1:1", config,
		append([]string{"policy", "test", "-c", "-"}, args...)...)
}

func TestPolicyTestSaysWhichRuleDecides(t *testing.T) {
	golden(t, "policy-allowed", policyTest(t, policed, "--identity", "spiffe://example.org/ns/web/sa/a", "--token", "shop"))
	golden(t, "policy-denied", policyTest(t, policed, "--identity", "spiffe://example.org/ns/web/sa/a", "--identity", "token:ops", "--token", "shop", "--verb", "watch"))
	for _, tc := range []struct {
		args, want, exit string
	}{
		{"--identity client:till --token shop", "client:till may get shop.", "0"},
		{"--identity client:till --token shop", "clients[0] allows it", "0"},
		{"--identity client:till --token shop --verb watch", "client:till may not watch shop.", "7"},
		{"--identity jwt:k8s:system:serviceaccount:a:b --verb resign", "jwt:k8s:system:serviceaccount:a:b may resign.", "0"},
		{"--identity spiffe://example.org/ns/web/a --verb status", "may not status.", "7"},
		{"--token shop", "anonymous may not get shop.", "7"},
		{"--identity cn:a --token shop", "Note: nobody can be cn:a: authentication.certificates.names has no cn.", "7"},
		{"--identity token:ops --token shpo", "Note: there is no token shpo; who may have it would be told NOT_FOUND.", "0"},
	} {
		if got := policyTest(t, policed, strings.Fields(tc.args)...); !strings.Contains(got, tc.want) || !strings.Contains(got, "--- exit code "+tc.exit+"\n") {
			t.Errorf("%s, and exit code %s, are not in\n%s", tc.want, tc.exit, got)
		}
	}
}

func TestPolicyTestAnswersPrograms(t *testing.T) {
	_, got, _ := strings.Cut(policyTest(t, policed, "--identity", "token:ops", "--token", "shop", "-o", "json"), "\n")
	got, code, _ := strings.Cut(got, "--- exit code ")
	var answer policyAnswer
	if err := json.Unmarshal([]byte(got), &answer); err != nil || code != "0\n" {
		t.Fatalf("%v, %s in\n%s", err, code, got)
	}
	if len(answer.Verbs) != len(access.Verbs) || !answer.Allowed || !answer.Guarded || answer.Verb != access.Get {
		t.Fatalf("got %+v", answer)
	}
	if r := answer.Verbs[0].Reasons[0]; !answer.Verbs[0].Allowed || r.Rule != "policy[1]" || r.At == nil || r.At.Line != 12 {
		t.Errorf("to get is %+v", answer.Verbs[0])
	}
	if r := answer.Verbs[1].Reasons[0]; answer.Verbs[1].Allowed || r.Allowed || r.Rule != "policy[1]" {
		t.Errorf("to watch is %+v", answer.Verbs[1])
	}
}

func TestPolicyTestOfAnOpenBrokerSaysSo(t *testing.T) {
	if got := policyTest(t, minimal, "--token", "shop"); !strings.Contains(got, "anonymous may get shop.\nNote: nothing is configured of authentication, policy and clients: "+
		"every caller may do everything.\n--- exit code 0") {
		t.Error(got)
	}
}

func TestPolicyTestTakesNothingThatIsNoQuestion(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"--identity shop --token shop", "an identity begins with spiffe://"},
		{"--identity spiffe:// --token shop", "an identity begins with spiffe://"},
		{"--identity anonymous --identity token:a --token shop", "who proves something is not anonymous"},
		{"--identity token:a", "to get is about a token"},
		{"--identity token:a --token shop --verb have", "write get, watch, report, list, refresh, resign or status"},
		{"--identity token:a --token Shop", "bad token name"},
		{"--identity token:a --token shop -o yaml", "write table or json"},
		{"--token shop more", "unknown command"},
	} {
		if got := policyTest(t, policed, strings.Fields(tc.args)...); !strings.Contains(got, tc.want) || !strings.Contains(got, "exit code 64") {
			t.Errorf("%q is not said by\n%s", tc.want, got)
		}
	}
	if got := policyTest(t, policed+"more: 1\n", "--token", "shop"); !strings.Contains(got, `unknown field "more"`) || !strings.Contains(got, "exit code 1\n") {
		t.Error(got)
	}
}

func TestCallerThatIsCreatedIsKnown(t *testing.T) {
	first := command(t.Context(), "127.0.0.1:1", "", "caller", "create", "shop")
	secret := regexp.MustCompile(`(?m)^  ([0-9a-f]{64})$`).FindStringSubmatch(first)
	line := regexp.MustCompile(`(?m)^shop [0-9a-f]{64}$`).FindString(first)
	if secret == nil || line == "" {
		t.Fatalf("no secret and no line in\n%s", first)
	}
	file := filepath.Join(t.TempDir(), "callers")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := loadText(minimal+"authentication: {token_file: "+file+"}\npolicy: [{identities: ['token:shop'], tokens: [shop], verbs: [get]}]\n", nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	a, err := access.NewAuthenticator(cfg.Authentication.Methods)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Authenticate(t.Context(), access.Origin{Bearer: token.NewSecret(secret[1])})
	if err != nil || len(c.Identities) != 1 || c.Identities[0] != "token:shop" || !strings.Contains(first, "token:shop") {
		t.Errorf("the caller is %v, %v", c.Identities, err)
	}
	if second := command(t.Context(), "127.0.0.1:1", "", "caller", "create", "shop"); strings.Contains(second, secret[1]) {
		t.Error("the second time the secret is the same")
	}
	for _, args := range [][]string{{"caller", "create"}, {"caller", "create", "a b"}, {"caller", "create", "a:b"}} {
		if got := command(t.Context(), "127.0.0.1:1", "", args...); !strings.Contains(got, "exit code 64") {
			t.Errorf("%q: %s", args, got)
		}
	}
}

// What stands in the documentation is tried as it stands there, beside what every configuration needs.
func TestExamplesOfTheDocumentationAreRight(t *testing.T) {
	text, err := os.ReadFile("../../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(block[1], "\npolicy:") {
			continue // for Kubernetes
		}
		tried++
		config := minimal + block[1]
		if !strings.Contains(block[1], "tls:") {
			config += "tls: {cert_file: a, key_file: b, client_ca_file: c}\n"
		}
		_, warnings, err := loadConfig(sources{File: "ACCESS.md", Data: []byte(config), Dry: true, Env: fakeEnvironment(map[string]string{"TOKENBROKER_PLAINTEXT": ""})})
		if err != nil || len(warnings) > 0 {
			t.Errorf("%v, warnings %v, in\n%s", err, warnings, block[1])
		}
	}
	if tried < 5 {
		t.Errorf("%d examples were found", tried)
	}
}
