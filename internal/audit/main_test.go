package audit_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper is a Log that runs until the test ends, or stop is called.
type keeper struct {
	*audit.Log
	t       *testing.T
	said    *logtest.Buffer
	metrics *prometheus.Registry
	stop    func() error
}

func keep(t *testing.T, cfg audit.Config) *keeper {
	t.Helper()
	k := &keeper{t: t, said: &logtest.Buffer{}, metrics: prometheus.NewPedanticRegistry()}
	cfg.Replica, cfg.Logger = "a", slog.New(slog.NewTextHandler(k.said, nil))
	k.Log = audit.New(cfg)
	if err := k.metrics.Register(k.Log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	k.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := k.stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return k
}

// metric is the value of a series: of the one with that label, if there are several.
func (k *keeper) metric(name, label string) float64 {
	k.t.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	k.t.Fatalf("there is no series %s %s", name, label)
	return 0
}

func (k *keeper) failing() bool { return k.metric("tokenbroker_audit_failing", "") == 1 }

// lines reads the records of a file, each of which must be whole.
func lines(t *testing.T, file string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, data)
}

func parse(t *testing.T, data []byte) []map[string]any {
	t.Helper()
	var records []map[string]any
	for text := range strings.Lines(string(data)) {
		record := map[string]any{}
		if err := json.Unmarshal([]byte(text), &record); err != nil || !strings.HasSuffix(text, "\n") {
			t.Fatalf("no whole line of JSON: %q: %v", text, err)
		}
		records = append(records, record)
	}
	return records
}
