package main

import (
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// someHash is the hash of nothing in particular.
const someHash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestClientThatIsCreatedIsAConfigurations(t *testing.T) {
	first := command(t.Context(), "127.0.0.1:1", "", "client", "create", "till", "--tokens", "shop,wallet-*")
	found := regexp.MustCompile(`(?m)^  ([0-9a-f]{64})$`).FindStringSubmatch(first)
	if found == nil {
		t.Fatalf("no secret in\n%s", first)
	}
	_, lines, _ := strings.Cut(first, "replica:\n")
	lines, _, _ = strings.Cut(lines, "--- exit code")
	var sections struct {
		Clients []struct {
			Name   string
			Hash   string `yaml:"secret_sha256"`
			Tokens []string
		}
	}
	if err := yaml.Unmarshal([]byte(lines), &sections); err != nil || len(sections.Clients) != 1 || sections.Clients[0].Hash != secretHash(found[1]) {
		t.Fatalf("%v, %+v in\n%s", err, sections, first)
	}
	cfg, warnings, err := loadConfig(sources{File: "broker.yaml", Env: fakeEnvironment(map[string]string{"SHOP": "secret"}), Data: []byte(
		"etcd: {endpoints: [\"http://127.0.0.1:1\"]}\ngateway: {listen: \"127.0.0.1:1\"}\ntokens:\n- {name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}\n" + lines)})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	client := cfg.Clients[0]
	if client.Name != "till" || !client.May("shop") || !client.May("wallet-2") || client.May("other") {
		t.Errorf("the client is %+v", client)
	}
	if second := command(t.Context(), "127.0.0.1:1", "", "client", "create", "till"); strings.Contains(second, found[1]) || !strings.Contains(second, `tokens: ["*"]`) {
		t.Errorf("the second time:\n%s", second)
	}
}

func TestClientsNameAndTokensAreChecked(t *testing.T) {
	for _, args := range [][]string{
		{"client", "create"}, {"client", "create", "a b"}, {"client", "create", "till", "--tokens", "Shop"}, {"client", "create", "till", "--tokens", ""},
	} {
		if got := command(t.Context(), "127.0.0.1:1", "", args...); !strings.Contains(got, "exit code 64") {
			t.Errorf("%q: %s", args, got)
		}
	}
}
