package build_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestAProcessStopsItselfAtAFailpointAndGoesOnFromThere(t *testing.T) {
	h := newHouse(t)
	b := h.serve(t, "GOFAIL_FAILPOINTS=refreshBeforeCommit=1*return")
	eventually(t, "the process stands still", func() bool { return b.state(t) == "T" })
	if records := h.values(t, b, "token/shop"); len(records) != 1 || !strings.Contains(records[0], `"pending":`) {
		t.Errorf("it stopped, but not between BEGIN and COMMIT: %v", records)
	}
	if err := b.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is committed", func() bool {
		return strings.Contains(h.values(t, b, "token/shop")[0], `"version":1`)
	})
}

// state returns the letter that the kernel has for the state of the process.
func (b *broker) state(t *testing.T) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces in it
	state, _, _ := strings.Cut(rest, " ")
	return state
}
