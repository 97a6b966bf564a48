package build_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

func TestEveryMechanismHasItsMutant(t *testing.T) {
	var names []string
	for _, m := range build.Mutants() {
		names = append(names, m.Name)
		if m.What == "" || len(m.Edits) == 0 || m.Needs.When == "" || len(m.Needs.Checks) == 0 || m.Needs.Story == "" {
			t.Errorf("mutant %q does not say all", m.Name)
		}
	}
	want := []string{
		"no-fence", "no-revision", "leased-record", "no-orphan", "blind-orphans", "phantom-leader", "no-intent", "no-quiet-wait",
		"forgotten-doubt", "sync-at-receive", "no-sync-cap", "any-report", "replaying-client",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("other mutants than wanted (-):\n%s", diff)
	}
}

func TestEveryMutantCompiles(t *testing.T) {
	for _, m := range build.Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			if err := build.Check(t.Context(), t.TempDir(), m); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnEditWhoseTextIsNotThereOnceIsAnError(t *testing.T) {
	for name, old := range map[string]string{"none": "no such text", "many": "return"} {
		m := build.Mutant{Name: name, Edits: []build.Edit{{File: "internal/store/ledger.go", Old: old, New: "whatever"}}}
		err := build.Check(t.Context(), t.TempDir(), m)
		if err == nil || !strings.Contains(err.Error(), `"`+name+`"`) || !strings.Contains(err.Error(), "internal/store/ledger.go") {
			t.Errorf("%s: got %v, want an error that names the mutant and the file", name, err)
		}
	}
}

func TestAMutantThatDoesNotCompileIsAnError(t *testing.T) {
	m := build.Mutant{Name: "broken", Edits: []build.Edit{{File: "internal/store/ledger.go", Old: "package store", New: "package store; nonsense"}}}
	if err := build.Check(t.Context(), t.TempDir(), m); err == nil || !strings.Contains(err.Error(), `"broken"`) {
		t.Errorf("got %v, want an error that names the mutant", err)
	}
}
