package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/test/certtest"
)

// ownMetrics lists the names of all metrics that a replica with a snapshot, a gateway, a policy and an audit log registers, whether they have a series yet or not.
func ownMetrics(t *testing.T) []string {
	t.Helper()
	cfg, _, err := loadText(minimal+"snapshot: {file: "+filepath.Join(t.TempDir(), "snapshot")+"}\ngateway: {listen: \"127.0.0.1:0\"}\naudit: {stdout: true}\n"+
		"policy: [{identities: [anonymous], tokens: [shop], verbs: [get]}]\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}}) // connects when it is used
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	registry := prometheus.NewRegistry()
	pair := certtest.New(t).Issue(t, certtest.Leaf{})
	cfg.TLS = tlsConfig{Own: tlsFiles{Cert: pair.Cert, Key: pair.Key}}
	log := newLogger(os.Stderr, cfg.Log)
	e, err := newEntrance(cfg, &ports{grpc: bufconn.Listen(1)}, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReplica(cfg, client, "x:1", e, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.front.conn.Close() })
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		registry.Describe(descriptions)
	}()
	name := regexp.MustCompile(`fqName: "([^"]*)"`)
	var names []string
	for d := range descriptions {
		names = append(names, name.FindStringSubmatch(d.String())[1])
	}
	return names
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	metricName = regexp.MustCompile(`\b(?:tokenbroker|grpc_server)_[a-z_]+`)
	alertName  = regexp.MustCompile(`- alert: (\w+)`)
)

func TestAlertsNameMetricsThatExistAndHaveAnEntryInTheRunbook(t *testing.T) {
	known, alerts, operations := ownMetrics(t), read(t, "deploy", "prometheus", "alerts.yaml"), read(t, "docs", "OPERATIONS.md")
	for _, file := range []string{alerts, read(t, "deploy", "prometheus", "alerts_test.yaml")} {
		for _, name := range metricName.FindAllString(file, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("an alert or its test names %s, which does not exist", name)
			}
		}
	}
	names := alertName.FindAllStringSubmatch(alerts, -1)
	for _, alert := range names {
		if !strings.Contains(operations, "\n### "+alert[1]+"\n") {
			t.Errorf("the runbook has no entry for %s", alert[1])
		}
	}
	if len(names) == 0 {
		t.Error("there are no alerts")
	}
}

func TestEveryMetricIsInTheTableOfOperations(t *testing.T) {
	known, operations := ownMetrics(t), read(t, "docs", "OPERATIONS.md")
	for _, name := range known {
		if !strings.Contains(operations, "| `"+name+"` |") {
			t.Errorf("docs/OPERATIONS.md has no line for %s", name)
		}
	}
	for _, line := range regexp.MustCompile("(?m)^\\| `((?:tokenbroker|grpc_server)_[a-z_]+)` \\|").FindAllStringSubmatch(operations, -1) {
		if !slices.Contains(known, line[1]) {
			t.Errorf("docs/OPERATIONS.md has a line for %s, which does not exist", line[1])
		}
	}
}
