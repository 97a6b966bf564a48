package build_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

func TestEveryFailpointIsDocumented(t *testing.T) {
	names, err := build.Failpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, line := range regexp.MustCompile(`(?m)^//\t([a-z]+[A-Z]\w+) +\S`).FindAllStringSubmatch(source(t, "doc.go"), -1) {
		documented = append(documented, line[1])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(documented, names); diff != "" {
		t.Errorf("the documentation (-) does not have the failpoints of the source (+):\n%s", diff)
	}
}

// Every step on the way to the first token is a place at which the process can be made to die. Only where package leader cleans up
// behind a panic does the process have last words: its key is gone.
func TestAPanicEndsTheProcessAndLeavesItsKeyInTheElection(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{
		"storeBeforeApply", "storeBeforeSynced", "storeAnswerLost", "refreshBeforeFirstRead", "refreshBeforeBegin", "refreshAfterBegin",
		"refreshBeforeWrite", "refreshAfterWrite", "refreshBeforeCommit", "refreshAfterCommit", "leaderBeforeProclaim", "leaderAfterProclaim",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := h.serve(t, "GOFAIL_FAILPOINTS="+name+"=panic")
			if code := b.exit(t); code != 2 {
				t.Errorf("it ended with exit code %d, want 2", code)
			}
			if !strings.Contains(b.errors.String(), "panic: failpoint panic") {
				t.Error("it did not end by the failpoint's panic")
			}
			wordless := strings.HasPrefix(name, "refresh") || name == "storeAnswerLost" // it has won by then
			lastWords := strings.HasPrefix(name, "leader")
			if keys := len(h.values(t, b, "election/")); wordless && keys != 1 || lastWords && keys != 0 {
				t.Errorf("it left %d keys in the election", keys)
			}
		})
	}
}
