package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secretValue = "5ecre7-5ecre7-5ecre7"

// fakeEnvironment has the given variables, SHOP with a secret, and what lets a broker run without certificates and keys.
func fakeEnvironment(variables map[string]string) environment {
	all := map[string]string{"SHOP": secretValue, "TOKENBROKER_PLAINTEXT": "true", "TOKENBROKER_INSECURE_PLAINTEXT_STORE": "true"}
	maps.Copy(all, variables)
	return environment{
		Getenv: func(name string) (string, bool) { text, ok := all[name]; return text, ok },
		Environ: func() []string {
			var pairs []string
			for name, text := range all {
				pairs = append(pairs, name+"="+text)
			}
			return pairs
		},
		Hostname: func() (string, error) { return "host-1", nil },
	}
}

// minimal is the least that a configuration needs: two lines.
const minimal = `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
`

func loadText(text string, env, flags map[string]string) (*config, problems, error) {
	return loadConfig(sources{File: "broker.yaml", Data: []byte(text), Flags: flags, Env: fakeEnvironment(env)})
}

// lines returns each problem as it is printed.
func lines(err error) []string {
	var found problems
	if !errors.As(err, &found) || len(found) == 0 {
		return nil
	}
	return strings.Split(found.Error(), "\n")
}

func TestEveryMistakeIsReportedWithItsPlaceAndTheWayOut(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"empty": "", "blank": "two words\n", "good": secretValue + "\n", "large": strings.Repeat("x", maxSecretSize+1)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range configMistakes {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.ReplaceAll(tc.text, "DIR", dir)
			_, warnings, err := loadText(text, tc.env, tc.flags)
			if diff := cmp.Diff(tc.want, lines(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.warnings, lines(warnings)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if all := strings.Join(append(lines(err), lines(warnings)...), "\n"); strings.Contains(all, "5ecre7") {
				t.Errorf("a secret is printed: %s", all)
			}
		})
	}
}

func TestMinimalConfigurationGetsDocumentedDefaults(t *testing.T) {
	cfg, warnings, err := loadText(minimal, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("got %v, warnings %v", err, warnings)
	}
	if got := cfg.Tokens[0].WeChat.Secret.Reveal(); got != secretValue {
		t.Errorf("the secret is not what the environment holds")
	}
	got := summarize(cfg)
	want := summary{
		Replica: "host-1", GRPC: "127.0.0.1:7700", HTTP: "127.0.0.1:7780", Etcd: "http://127.0.0.1:2379", Namespace: "/tokenbroker/", Transport: "plaintext, on loopback only", Callers: "nobody is asked who they are",
		SessionTTL: "5s", AtRest: "as they are",
		Tokens: []tokenSummary{{
			Name: "shop", Upstream: "wechat stable", AppID: "wx1", Secret: "environment SHOP", Refresh: got.Tokens[0].Refresh,
			DailyBudget: got.Tokens[0].DailyBudget, Reserve: got.Tokens[0].DailyBudget / 10, Reports: "verified",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	text := minimal + `
grpc: {listen: "127.0.0.1:1"}
http: {listen: "127.0.0.1:2"}
replica: {id: from-file}
`
	cfg, _, err := loadText(text,
		map[string]string{"TOKENBROKER_GRPC_LISTEN": "127.0.0.1:11", "TOKENBROKER_HTTP_LISTEN": "127.0.0.1:12", "TOKENBROKER_REPLICA_ID": ""},
		map[string]string{"grpc.listen": "127.0.0.1:21"})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.GRPC.Listen, cfg.HTTP.Listen, cfg.Replica.ID}
	if diff := cmp.Diff([]string{"127.0.0.1:21", "127.0.0.1:12", "from-file"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSectionMayExistInTheEnvironmentOnly(t *testing.T) {
	cfg, _, err := loadText("tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]", map[string]string{
		"TOKENBROKER_ETCD_EMBEDDED_DATA_DIR":        "/var/lib/broker",
		"TOKENBROKER_ETCD_EMBEDDED_NAME":            "b",
		"TOKENBROKER_ETCD_EMBEDDED_INITIAL_CLUSTER": "a=http://10.0.0.1:2380, b=http://127.0.0.1:2380",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &embeddedConfig{
		DataDir: "/var/lib/broker", Name: "b", ListenClient: "http://127.0.0.1:2379", ListenPeer: "http://127.0.0.1:2380",
		AdvertisePeer:  "http://127.0.0.1:2380",
		InitialCluster: map[string]string{"a": "http://10.0.0.1:2380", "b": "http://127.0.0.1:2380"},
	}
	if diff := cmp.Diff(want, cfg.Etcd.Embedded); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretIsReadFromItsFileWithoutTheLineBreak(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	text := strings.Replace(minimal, "{env: SHOP}", "{file: "+path+"}", 1)
	for _, content := range []string{secretValue, secretValue + "\n", secretValue + "\r\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := loadText(text, nil, nil)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("got %v, warnings %v", err, warnings)
		}
		if got := cfg.Tokens[0].WeChat.Secret.Reveal(); got != secretValue {
			t.Errorf("file %q gives %q", content, got)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := loadText(text, nil, nil)
	want := []string{"broker.yaml:2:59: tokens[0].wechat.secret.file: every user of this machine can read the file named here; " +
		"chmod 600 it (in Kubernetes: defaultMode: 0400)"}
	if diff := cmp.Diff(want, lines(warnings)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestScheduleKeepsItsRulesInWords(t *testing.T) {
	cfg, _, err := loadText(`
etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: shop
    wechat: {mode: classic, appid: wx1, secret: {env: SHOP}}
    daily_budget: 500
    reserve: 20
    ahead: 20m
    verify_reports: false
    verify: {every: 5m}
    refresh:
      - every: 90m
      - cron: "0 30 2 * * *"
      - {cron: "0 0 4 * * MON-FRI", time_zone: Europe/Berlin}
`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.Tokens[0].summary()
	want := tokenSummary{
		Name: "shop", Upstream: "wechat classic", AppID: "wx1", Secret: "environment SHOP", DailyBudget: 500, Reserve: 20, Reports: "trusted", Verify: "every 5m",
		Refresh: []string{"20m ahead of expiry", "every 1h30m0s", "cron 0 30 2 * * * Asia/Shanghai", "cron 0 0 4 * * MON-FRI Europe/Berlin"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDryRunReadsNoSecret(t *testing.T) {
	text := strings.Replace(minimal, "{env: SHOP}", "{file: /does/not/exist}", 1)
	cfg, _, err := loadConfig(sources{File: "broker.yaml", Data: []byte(text), Env: fakeEnvironment(nil), Dry: true})
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Tokens[0].WeChat.Secret.IsZero() || cfg.Tokens[0].SecretFrom != "file /does/not/exist" {
		t.Errorf("got %v", cfg.Tokens[0].WeChat)
	}
}

func TestEveryFlagNamesASettingThatExists(t *testing.T) {
	for _, f := range flagged {
		_, _, err := loadText(minimal, nil, map[string]string{f.path: "\x00"})
		found := slices.ContainsFunc(lines(err), func(line string) bool { return strings.Contains(line, "flag --"+flagName(f.path)) })
		cfg, _, _ := loadText(minimal, nil, map[string]string{f.path: "/x/"})
		if !found && (cfg == nil || cfg.Etcd.Namespace != "/x/") && f.path != "etcd.embedded.data_dir" {
			t.Errorf("%s is read by nobody: %v", f.path, err)
		}
	}
}

// known lists the fields that may stand in a section of the given configuration, as the error of a wrong field tells.
func known(t *testing.T, text string) []string {
	t.Helper()
	_, _, err := loadText(text, nil, nil)
	for _, line := range lines(err) {
		if _, list, ok := strings.Cut(line, `unknown field "zzz"; known here are `); ok {
			return strings.Split(strings.ReplaceAll(list, " and ", ", "), ", ")
		}
	}
	t.Fatalf("no list of known fields in %v", lines(err))
	return nil
}

func TestExampleShowsEverySettingAndIsRight(t *testing.T) {
	secured := fakeEnvironment(map[string]string{"TOKENBROKER_PLAINTEXT": ""})
	cfg, warnings, err := loadConfig(sources{File: "example.yaml", Data: []byte(exampleConfig), Env: secured, Dry: true})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v\nwarnings %v", err, warnings)
	}
	if len(cfg.Tokens) != 2 {
		t.Errorf("%d tokens", len(cfg.Tokens))
	}
	// The alternative: the embedded etcd, with what is commented out.
	before, rest, _ := strings.Cut(exampleConfig, "  endpoints:")
	_, alternative, _ := strings.Cut(rest, "  #embedded:")
	alternative, after, _ := strings.Cut(alternative, "\nelection:")
	alternative, _, _ = strings.Cut(alternative, "  #  # For https between")
	text := before + "  embedded:" + strings.ReplaceAll(alternative, "\n  #  ", "\n    ") + "\nelection:" + after
	cfg, warnings, err = loadConfig(sources{File: "example.yaml", Data: []byte(text), Env: secured, Dry: true})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v\nwarnings %v\n%s", err, warnings, text)
	}
	if cfg.Etcd.Embedded == nil || cfg.Etcd.Embedded.Name != "broker-1" {
		t.Errorf("embedded: %v", cfg.Etcd.Embedded)
	}
	for _, section := range []string{
		"zzz: 1", "replica: {zzz: 1}", "grpc: {zzz: 1}", "http: {zzz: 1}", "log: {zzz: 1}", "election: {zzz: 1}", "snapshot: {zzz: 1}",
		"sealing: {zzz: 1}", "sealing: {keyset: {zzz: 1}}",
		"authentication: {zzz: 1}", "authentication: {certificates: {zzz: 1}}", "authentication: {jwt: [{zzz: 1}]}", "policy: [{zzz: 1}]",
		"limits: {zzz: 1}", "audit: {zzz: 1}", "tls: {zzz: 1}",
		"etcd: {zzz: 1}", "etcd: {tls: {zzz: 1}}", "etcd: {embedded: {zzz: 1}}", "etcd: {embedded: {peer_tls: {zzz: 1}}}", "etcd: {password: {zzz: 1}}",
		"tokens: [{zzz: 1}]", "tokens: [{wechat: {zzz: 1}}]", "tokens: [{wechat: {}, refresh: [{zzz: 1}]}]", "tokens: [{wechat: {}, verify: {zzz: 1}}]",
	} {
		for _, field := range known(t, section) {
			if !strings.Contains(exampleConfig, field+":") {
				t.Errorf("%s: the example does not show %s", section, field)
			}
		}
	}
}

func TestExampleStatesTheDefaults(t *testing.T) {
	cfg, _, err := loadText("etcd: {endpoints: ['http://127.0.0.1:2379']}\ntokens:\n"+
		"  - {name: a, wechat: {appid: wx1, secret: {env: SHOP}}}\n  - {name: b, wechat: {mode: classic, appid: wx1, secret: {env: SHOP}}}\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listen: " + cfg.GRPC.Listen, "listen: " + cfg.HTTP.Listen, "max_connection_age: " + short(cfg.GRPC.MaxConnectionAge),
		"rate: " + itoa(cfg.Limits.Rate), "burst: " + itoa(cfg.Limits.Burst), "streams: " + itoa(cfg.Limits.Streams), "calls: " + itoa(cfg.Limits.Calls),
		"connections: " + itoa(cfg.Limits.Connections), "connections_per_address: " + itoa(cfg.Limits.ConnectionsPerAddress),
		"session_ttl: " + short(cfg.Election.SessionTTL), "namespace: " + cfg.Etcd.Namespace,
		"Default: " + short(cfg.Tokens[0].Policy.Ahead) + " for stable, " + short(cfg.Tokens[1].Policy.Ahead) + " for classic, where it is at least " +
			short(cfg.Tokens[1].Timing.LeastAhead()),
		"daily_budget: " + itoa(int(cfg.Tokens[0].Policy.DailyBudget)), "reserve: " + itoa(int(cfg.Tokens[0].Policy.Reserve)),
	} {
		if !strings.Contains(exampleConfig, want) {
			t.Errorf("the example does not say %q", want)
		}
	}
}
