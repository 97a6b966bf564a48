package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// publicKeys is a JSON Web Key Set with one key.
const publicKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

// accessMistakes are configurations of who calls and what they may have, behind those of minimal. DIR stands for a folder with the files
// keys, callers (the caller ops), open, readable, empty and broken.
var accessMistakes = []struct {
	name, text     string
	want, warnings []string
}{
	{name: "an empty section", text: "authentication:\n", want: []string{
		"authentication: this section is empty; say how callers prove who they are, or take it away; {} stands for client certificates with SPIFFE ids",
	}},
	{name: "nobody may have anything", text: "authentication: {}\n", warnings: []string{
		`policy: without a rule nobody may have anything; write rules, such as - {identities: ["spiffe://example.org/*"], tokens: ["*"], verbs: [get, watch, report, list]}`,
	}},
	{name: "a policy whose rules were taken away", text: "policy:\n", want: []string{
		"policy: this section is empty; write rules, or [] if nobody may have anything; without the section nobody may be asked who they are",
	}},
	{name: "a policy of nothing", text: "policy: []\n", warnings: []string{
		`policy: without a rule nobody may have anything; write rules, such as - {identities: ["spiffe://example.org/*"], tokens: ["*"], verbs: [get, watch, report, list]}`,
	}},
	{name: "wrong names of certificates", text: "authentication:\n  certificates: {names: [spiffe, serial, spiffe], trust_domains: ['spiffe://a', A]}\n" + anyone, want: []string{
		`authentication.certificates.names[1]: "serial" is not possible here; write spiffe, dns or cn`,
		`authentication.certificates.names[2]: "spiffe" stands here twice; keep one of them`,
		`authentication.certificates.trust_domains[0]: "spiffe://a" is no trust domain: it is 1 to 255 of a-z, 0-9, '.', '_' and '-', without spiffe://; write, for instance, example.org`,
		`authentication.certificates.trust_domains[1]: "A" is no trust domain: it is 1 to 255 of a-z, 0-9, '.', '_' and '-', without spiffe://; write, for instance, example.org`,
	}},
	{name: "names and trust domains that do not go together", text: "authentication: {certificates: {names: [dns], trust_domains: [a]}}\n" + anyone, warnings: []string{
		"authentication.certificates.trust_domains: SPIFFE ids are not believed, so that their trust domains do not matter; add spiffe to names",
	}},
	{name: "no names", text: "authentication: {certificates: {names: []}}\n" + anyone, want: []string{
		"authentication.certificates.names: no kind of name is believed; write spiffe, dns or cn, or take the field away",
	}},
	{name: "issuers of all kinds", text: "authentication:\n  jwt:\n  - {}\n  -\n  - x\n  - {name: 'a:b', issuer: issuer.example.org, audiences: [''], claim: ''}\n" +
		"  - {name: a, issuer: 'http://a.example.org', audiences: [x], discovery: 'http://a.example.org', jwks: x}\n" +
		"  - {name: a, issuer: 'https://a.example.org', audiences: [x]}\n  - {name: b, issuer: 'https://a.example.org', audiences: [x]}\n" + anyone, want: []string{
		"authentication.jwt[0].name: this is required; name the issuer; its callers are called jwt:NAME:...",
		"authentication.jwt[0].issuer: this is required; write the claim iss of its tokens",
		"authentication.jwt[0].audiences: it is not said for whom its tokens must be made; write the claim aud that callers ask for, such as [tokenbroker]",
		"authentication.jwt[1]: this element is empty; give name, issuer and audiences, or take the dash away",
		"authentication.jwt[2]: a group of fields is expected here; broker config example shows what belongs into it",
		`authentication.jwt[3].name: "a:b" cannot be an issuer's name; write letters, digits, '.', '_' and '-'`,
		`authentication.jwt[3].issuer: its keys cannot be found there: "issuer.example.org" is no https URL that ends with host, port or path; say where they are by discovery or jwks_file`,
		"authentication.jwt[3].audiences[0]: this is required; write the claim aud for which tokens are made",
		"authentication.jwt[3].claim: a claim must name the caller; write sub, or take the field away",
		`authentication.jwt[4].discovery: keys are believed over https only, and "http://a.example.org" is not; write, for instance, https://kubernetes.default.svc`,
		"authentication.jwt[4]: unknown field \"jwks\"; known here are audiences, bearer_token_file, ca_file, claim, discovery, issuer, jwks_file and name",
		"authentication.jwt[5].name: the element on line 9 has the same name; have one element for each issuer, with a name of its own",
		"authentication.jwt[6].issuer: the element on line 10 has the same issuer; have one element for each issuer, with a name of its own",
	}},
	{name: "files of issuers", text: "authentication:\n  jwt:\n" +
		"  - {name: a, issuer: a, audiences: [x], jwks_file: DIR/missing}\n  - {name: b, issuer: b, audiences: [x], jwks_file: DIR/broken}\n" +
		"  - {name: c, issuer: c, audiences: [x], jwks_file: DIR/keys, ca_file: DIR/keys, discovery: 'https://c'}\n" +
		"  - {name: d, issuer: 'https://d', audiences: [x], ca_file: DIR/keys, bearer_token_file: DIR/empty}\n" +
		"  - {name: e, issuer: 'https://e', audiences: [x], bearer_token_file: DIR/readable}\n" + anyone, want: []string{
		"authentication.jwt[0].jwks_file: the file named here does not exist; let it hold the issuer's JSON Web Key Set",
		"authentication.jwt[1].jwks_file: the file named here is of no use: this is no JSON Web Key Set; let it hold the issuer's public keys as a JSON Web Key Set",
		"authentication.jwt[2].ca_file: this is for OIDC discovery, and jwks_file says that the keys are in a file; take one of them away",
		"authentication.jwt[2].discovery: this is for OIDC discovery, and jwks_file says that the keys are in a file; take one of them away",
		"authentication.jwt[3].ca_file: the file named here holds no certificate; let it hold the authorities' certificates in PEM form",
		"authentication.jwt[3].bearer_token_file: the file named here is empty; let it hold the secret",
	}, warnings: []string{
		"authentication.jwt[4].bearer_token_file: every user of this machine can read the file named here; chmod 600 it (in Kubernetes: defaultMode: 0400)",
	}},
	{name: "no file of tokens", text: "authentication: {token_file: DIR/missing}\n" + anyone, want: []string{
		"authentication.token_file: the file named here does not exist; let it hold the lines that broker caller create prints",
	}},
	{name: "a nameless file of tokens", text: "authentication: {token_file: ''}\n" + anyone, want: []string{
		"authentication.token_file: this is required; name a file, or take the field away",
	}},
	{name: "a file of tokens that everybody can write", text: "authentication: {token_file: DIR/open}\n" + anyone, want: []string{
		"authentication.token_file: every user of this machine can write the file named here; chmod 600 it",
	}},
	{name: "a file of tokens that everybody can read", text: "authentication: {token_file: DIR/readable}\n" + anyone, want: []string{
		"authentication.token_file: line 1 of the file named here: it has 1 words; write a name and a hash, as broker caller create prints them",
	}, warnings: []string{
		"authentication.token_file: every user of this machine can read the file named here; chmod 600 it (in Kubernetes: defaultMode: 0400)",
	}},
	{name: "an empty file of tokens", text: "authentication: {token_file: DIR/empty}\n" + anyone, warnings: []string{
		"authentication.token_file: the file named here has no caller in it; broker caller create prints a line for it",
	}},
	{name: "rules of all kinds", text: "policy:\n- {}\n-\n- x\n- {identities: [shop, 'spiffe:', 'jwt:', 'x*'], tokens: [Shop], verbs: [take], who: me}\n", want: []string{
		`policy[0].identities: the rule is for nobody; list identities, or patterns such as "spiffe://example.org/*"`,
		`policy[0].tokens: the rule is for no tokens; list their names, or patterns such as "shop-*"`,
		"policy[0].verbs: the rule allows nothing; list verbs: get, watch, report, list, refresh, resign or status",
		"policy[1]: this element is empty; give identities, tokens and verbs, or take the dash away",
		"policy[2]: a group of fields is expected here; broker config example shows what belongs into it",
		`policy[3].identities[0]: "shop" matches no identity: an identity begins with spiffe://, dns:, cn:, jwt:, token: or client:, or is "anonymous"; write, for instance, "spiffe://example.org/ns/web/*"`,
		`policy[3].identities[1]: "spiffe:" matches no identity: an identity begins with spiffe://, dns:, cn:, jwt:, token: or client:, or is "anonymous"; write, for instance, "spiffe://example.org/ns/web/*"`,
		`policy[3].identities[2]: "jwt:" matches no identity: an identity begins with spiffe://, dns:, cn:, jwt:, token: or client:, or is "anonymous"; write, for instance, "spiffe://example.org/ns/web/*"`,
		`policy[3].identities[3]: "x*" matches no identity: an identity begins with spiffe://, dns:, cn:, jwt:, token: or client:, or is "anonymous"; write, for instance, "spiffe://example.org/ns/web/*"`,
		`policy[3].tokens[0]: "Shop" is neither a token's name nor a pattern; write a name, or "*" for any characters: "shop-*"`,
		`policy[3].verbs[0]: "take" is not possible here; write get, watch, report, list, refresh, resign or status`,
		`policy[3]: unknown field "who"; known here are identities, tokens and verbs`,
	}},
	{name: "rules that can do nothing", text: "authentication:\n  token_file: DIR/callers\n  certificates: {trust_domains: [example.org]}\n" +
		"  jwt: [{name: k8s, issuer: x, audiences: [a], jwks_file: DIR/keys}]\npolicy:\n- verbs: [get, resign]\n  tokens: [shop, shpo]\n  identities:\n" +
		"  - 'token:ops'\n  - 'token:opps'\n  - 'jwt:k8s:*'\n  - 'jwt:k8x:*'\n  - 'jwt:k*'\n  - 'dns:a'\n  - 'cn:a*'\n  - 'client:till'\n" +
		"  - 'spiffe://example.org/*'\n  - 'spiffe://example.com/*'\n  - 'spiffe://*'\n  - '*'\n  - anonymous\n", warnings: []string{
		"policy[0].verbs[1]: to resign is about no token, and needs a rule for all of them; write tokens: [\"*\"], in a rule of its own",
		`policy[0].tokens[1]: no token is called "shpo"; compare it with the names under tokens`,
		`policy[0].identities[1]: nobody can be "token:opps": authentication.token_file has no caller of this name; compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[3]: nobody can be "jwt:k8x:*": no issuer under authentication.jwt is called "k8x"; compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[5]: nobody can be "dns:a": callers are not asked for certificates (tls.client_ca_file); compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[6]: nobody can be "cn:a*": callers are not asked for certificates (tls.client_ca_file); compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[7]: nobody can be "client:till": clients has none of this name; compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[8]: nobody can be "spiffe://example.org/*": callers are not asked for certificates (tls.client_ca_file); compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[9]: nobody can be "spiffe://example.com/*": callers are not asked for certificates (tls.client_ca_file); compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[10]: nobody can be "spiffe://*": callers are not asked for certificates (tls.client_ca_file); compare it with tls, authentication and clients, or take it away`,
	}},
	{name: "a policy without authentication", text: "policy: [{identities: ['token:a', 'jwt:*', anonymous], tokens: ['*'], verbs: [resign]}]\n", warnings: []string{
		`policy[0].identities[0]: nobody can be "token:a": there is no authentication.token_file; compare it with tls, authentication and clients, or take it away`,
		`policy[0].identities[1]: nobody can be "jwt:*": authentication.jwt has no issuer; compare it with tls, authentication and clients, or take it away`,
	}},
}

// anyone is a policy that is of no further interest.
const anyone = "policy: [{identities: [anonymous], tokens: ['*'], verbs: [get]}]\n"

// accessFiles makes the folder of accessMistakes.
func accessFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"keys": publicKeys, "callers": "ops " + someHash + "\n", "open": "", "readable": "5ecre7", "empty": "", "broken": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"open": 0o602, "readable": 0o604} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withoutPlaces leaves out where in the file something is; that is tested for every reader at once.
func withoutPlaces(all []string) []string {
	var list []string
	for _, line := range all {
		_, text, _ := strings.Cut(line, ": ")
		list = append(list, text)
	}
	return list
}

func TestEveryMistakeAboutCallersIsReportedWithTheWayOut(t *testing.T) {
	dir := accessFiles(t)
	for _, tc := range accessMistakes {
		t.Run(tc.name, func(t *testing.T) {
			text := minimal + strings.ReplaceAll(tc.text, "DIR", dir)
			_, warnings, err := loadText(text, nil, nil)
			if diff := cmp.Diff(tc.want, withoutPlaces(lines(err))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.warnings, withoutPlaces(lines(warnings))); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if all := strings.Join(append(lines(err), lines(warnings)...), "\n"); strings.Contains(all, "5ecre7") {
				t.Errorf("a secret is printed: %s", all)
			}
		})
	}
}

func TestAuthenticationIsWhatAccessTakes(t *testing.T) {
	dir := accessFiles(t)
	cfg, warnings, err := loadText(minimal+strings.ReplaceAll(`
authentication:
  certificates: {names: [dns, spiffe], trust_domains: [example.org]}
  jwt:
  - {name: k8s, issuer: "https://cluster.local", audiences: [a, b], discovery: "https://kubernetes.default.svc", claim: name}
  - {name: corp, issuer: corp, audiences: [a], jwks_file: DIR/keys}
  - {name: sso, issuer: "https://sso.example.org/x", audiences: [a]}
  token_file: DIR/callers
`+anyone, "DIR", dir), nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := access.Config{
		Certificates: access.Certificates{Names: []access.Name{access.DNS, access.SPIFFE}, TrustDomains: []string{"example.org"}},
		Issuers: []access.Issuer{
			{Name: "k8s", Issuer: "https://cluster.local", Audiences: []string{"a", "b"}, Claim: "name", Keys: access.KeySource{Discovery: "https://kubernetes.default.svc"}},
			{Name: "corp", Issuer: "corp", Audiences: []string{"a"}, Claim: "sub", Keys: access.KeySource{File: dir + "/keys"}},
			{Name: "sso", Issuer: "https://sso.example.org/x", Audiences: []string{"a"}, Claim: "sub", Keys: access.KeySource{Discovery: "https://sso.example.org/x"}},
		},
		Tokens: []access.StaticToken{{Name: "ops", SHA256: [sha256.Size]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
			0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}},
	}
	if diff := cmp.Diff(want, cfg.Authentication.Methods); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := access.NewAuthenticator(access.Config{Issuers: want.Issuers, Logger: newLogger(os.Stderr, cfg.Log)}); err != nil {
		t.Error(err)
	}
	cfg, _, err = loadText(minimal, nil, nil)
	if err != nil || cfg.guarded() || cfg.Authentication.Given || cfg.Policy.Given || len(cfg.Policy.Rules) > 0 {
		t.Errorf("without the sections there is %+v, %+v, %v", cfg.Authentication, cfg.Policy, err)
	}
	cfg, _, err = loadText(minimal+anyone, map[string]string{"TOKENBROKER_AUTHENTICATION_TOKEN_FILE": dir + "/callers"}, nil)
	if err != nil || !cfg.Authentication.Given || len(cfg.Authentication.Methods.Tokens) != 1 {
		t.Errorf("from the environment comes %+v, %v", cfg, err)
	}
}

func TestWhereOthersReachTheBrokerSomethingIsSaidOfWhoTheyAre(t *testing.T) {
	const encrypted = minimal + "tls: {cert_file: /does/not/exist, key_file: /does/not/exist}\n"
	const asked = `add authentication and policy; if whoever reaches it may have every token, say so by a rule for the identity "anonymous"`
	for _, tc := range []struct{ text, path string }{
		{encrypted, ""},
		{encrypted + "grpc: {listen: ':7700'}\n", `grpc.listen, ":7700"`},
		{encrypted + "gateway: {listen: '10.0.0.1:7710'}\n", `gateway.listen, "10.0.0.1:7710"`},
		{encrypted + "http: {listen: ':7780'}\n", ""}, // has no tokens
		{encrypted + "grpc: {listen: ':7700'}\n" + anyone, ""},
	} {
		_, _, err := loadConfig(sources{
			File: "broker.yaml", Data: []byte(tc.text), Env: fakeEnvironment(map[string]string{"TOKENBROKER_PLAINTEXT": ""}), Dry: true,
		})
		var want []string
		if tc.path != "" {
			want = []string{"broker.yaml:1:1: authentication: nobody is asked who they are, and others than this machine can reach " + tc.path + "; " + asked}
		}
		if diff := cmp.Diff(want, lines(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.text, diff)
		}
	}
}

func TestPolicyHasTheClientsRulesBehindTheOperators(t *testing.T) {
	cfg, _, err := loadText(minimal+"gateway: {listen: '127.0.0.1:0'}\nclients: [{name: till, secret_sha256: "+someHash+", tokens: ['s*']}]\n"+anyone, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []access.Rule{
		{Where: "policy[0]", Identities: []string{"anonymous"}, Tokens: []string{"*"}, Verbs: []access.Verb{access.Get}},
		{Where: "clients[0]", Identities: []string{"client:till"}, Tokens: []string{"s*"}, Verbs: []access.Verb{access.Get, access.Report, access.List}},
	}
	if diff := cmp.Diff(want, cfg.Policy.Rules); diff != "" || !cfg.guarded() {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdentityThatNobodyCanHaveIsKnown(t *testing.T) {
	cfg := &config{TLS: tlsConfig{Own: tlsFiles{CA: "ca.pem"}}}
	cfg.Authentication.Methods = access.Config{
		Certificates: access.Certificates{Names: []access.Name{access.SPIFFE, access.DNS}, TrustDomains: []string{"example.org"}},
		Issuers:      []access.Issuer{{Name: "k8s"}},
	}
	for pattern, want := range map[string]string{
		"spiffe://example.org/a": "", "spiffe://example.org/*": "", "spiffe://ex*": "", "spiffe://*": "", "dns:a": "", "*": "", "jwt:k8s:a": "", "jwt:k8*": "", "jwt:*": "",
		"spiffe://example.com/*": `authentication.certificates.trust_domains has no "example.com"`,
		"cn:a":                   "authentication.certificates.names has no cn",
		"jwt:sso:a":              `no issuer under authentication.jwt is called "sso"`,
		"jwt:k8s2:*":             `no issuer under authentication.jwt is called "k8s2"`,
		"token:*":                "there is no authentication.token_file",
		"client:a":               "clients has none of this name",
	} {
		kind := access.KindsOf(pattern)[0]
		if got := cfg.lacking(kind, pattern); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	cfg.Authentication.Methods.Certificates.Names = []access.Name{access.CN}
	if cfg.lacking(access.KindSPIFFE, "spiffe://*") == "" || cfg.lacking(access.KindDNS, "dns:*") == "" || cfg.lacking(access.KindCN, "cn:*") != "" {
		t.Error("the kinds of names do not matter")
	}
}

func TestDryRunReadsNoFileOfCallers(t *testing.T) {
	_, warnings, err := loadConfig(sources{File: "broker.yaml", Env: fakeEnvironment(nil), Dry: true, Data: []byte(minimal + `
authentication:
  token_file: /does/not/exist
  jwt:
  - {name: a, issuer: a, audiences: [x], jwks_file: /does/not/exist}
  - {name: b, issuer: "https://b", audiences: [x], ca_file: /does/not/exist, bearer_token_file: /does/not/exist}
policy: [{identities: ["token:ops", "jwt:a:*"], tokens: [shop], verbs: [get]}]
`)})
	if err != nil || len(warnings) > 0 {
		t.Error(err, warnings)
	}
}
