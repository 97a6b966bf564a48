package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// series returns every counter's value by its name and labels.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := []string{family.GetName()}
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[strings.Join(labels, " ")] = m.GetCounter().GetValue()
		}
	}
	return all
}

func TestFetchesAndProbesAreCountedFromZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge(t)
		c := newCluster(t, 1, 1, newUpstream(j), simSpec{name: stable, policy: refresh.Policy{Verify: interval}, timing: token.TimingFor(j.overlap)})
		defer c.close()
		registry := prometheus.NewRegistry()
		var err error
		if c.metrics, err = refresh.NewMetrics(registry); err != nil {
			t.Fatal(err)
		}
		c.up.regime(true, nil)
		inc := c.start(0)
		synctest.Wait()
		for _, name := range []string{
			"tokenbroker_fetches_total class= outcome=token token=stable",
			"tokenbroker_fetches_total class=address outcome=none token=stable",
			"tokenbroker_fetches_total class=transient outcome=unknown token=stable",
			"tokenbroker_probes_total answer=alive token=stable",
			"tokenbroker_probes_total answer=dead token=stable",
			"tokenbroker_probes_total answer=none token=stable",
		} {
			if value, there := series(t, registry)[name]; !there || value != 0 {
				t.Errorf("before the first fetch is answered, %s is there: %v, with value %v", name, there, value)
			}
		}

		time.Sleep(time.Minute)
		c.up.regime(false, nil)
		time.Sleep(10 * time.Minute)
		c.up.probe(func(context.Context) error { return errors.New("no route") })
		time.Sleep(5 * time.Minute)
		c.up.probe(nil)
		j.excuse(c.etcd.read(stable).Record.Value.Reveal())
		j.wechat.Kill(c.etcd.read(stable).Record.Value.Reveal())
		time.Sleep(2 * time.Minute)
		if !inc.view.InSync() {
			t.Error("the replica is cut off")
		}
		got := series(t, registry)
		for name, least := range map[string]float64{
			"tokenbroker_fetches_total class= outcome=token token=stable":           2,
			"tokenbroker_fetches_total class=unreachable outcome=none token=stable": 2,
			"tokenbroker_probes_total answer=alive token=stable":                    8,
			"tokenbroker_probes_total answer=none token=stable":                     4,
			"tokenbroker_probes_total answer=dead token=stable":                     1,
		} {
			if got[name] < least {
				t.Errorf("%s is %v, want at least %v", name, got[name], least)
			}
		}
		for name := range got {
			if strings.HasPrefix(name, "tokenbroker_fetches_total") && got[name] > 0 && !strings.Contains(name, "class= ") && !strings.Contains(name, "class=unreachable") {
				t.Errorf("%s is %v", name, got[name])
			}
		}
	})
}
