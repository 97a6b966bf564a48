package build_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

// clockVariable names the file that bends the clock.
const clockVariable = "TOKENBROKER_CLOCK_FILE"

func TestProductionKnowsNothingOfFailpointsAndBentClocks(t *testing.T) {
	t.Parallel()
	production, err := build.Broker(t.Context(), t.TempDir(), build.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{production: false, testBroker(t): true} {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range []string{"gofail", "GOFAIL_HTTP", "refreshBeforeBegin", clockVariable} {
			if got := bytes.Contains(program, []byte(trace)); got != want {
				t.Errorf("%s contains %q: %v, want %v", filepath.Base(path), trace, got, want)
			}
		}
	}
}

func TestTheClockOfATestBuildCanBeBent(t *testing.T) {
	h := newHouse(t)
	file := filepath.Join(t.TempDir(), "clock")
	if err := os.WriteFile(file, []byte("-10m0s"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := h.serve(t, clockVariable+"="+file)
	var candidates []string
	eventually(t, "there is a candidate", func() bool { candidates = h.values(t, b, "election/"); return len(candidates) == 1 })
	var said struct{ Since time.Time }
	if err := json.Unmarshal([]byte(candidates[0]), &said); err != nil {
		t.Fatal(err)
	}
	if ago := time.Since(said.Since).Round(time.Minute); ago != 10*time.Minute {
		t.Errorf("what the process does now it dates %v ago, want 10m", ago)
	}
}

// The tests of the bent clock are beside it, and need its build tag.
func TestTheBentClock(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "robustness", ".")
	cmd.Dir = filepath.Join("..", "..", "..", "internal", "clock")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEtcdIsOfTheVersionThatTheModulePins(t *testing.T) {
	t.Parallel()
	path, err := build.Etcd(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(strings.SplitN(string(out), "\n", 2)[0], "etcd Version: ")
	if version == "" || !strings.Contains(source(t, "..", "..", "..", "go.mod"), "go.etcd.io/etcd/server/v3 v"+version+"\n") {
		t.Errorf("etcd is of version %q, which go.mod does not name", version)
	}
}
