package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Ctrl-C at a terminal is a SIGINT to the whole process group in the foreground, and not to the suite alone.
func TestRunThatIsInterruptedIsVoidAndNobodyCrashed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	suite := exec.CommandContext(t.Context(), os.Args[0])
	suite.Env = append(os.Environ(), suiteArgs+"=-seed 1 -duration 10m -keep "+dir)
	suite.SysProcAttr = brokertest.EndWithParent()
	suite.SysProcAttr.Setpgid = true
	stderr, err := suite.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := suite.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		told.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "all of it runs") {
			if err := syscall.Kill(-suite.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = suite.Wait() // ProcessState has it
	if code := suite.ProcessState.ExitCode(); code != exitVoid {
		t.Errorf("exit code %d, want %d", code, exitVoid)
	}
	for _, want := range []string{"the run is void: interrupted", "what there is of it is in " + dir} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(told.String(), "crashed") {
		t.Error("what the terminal did to the processes counts as their crash")
	}
	if events, err := history.Load(filepath.Join(dir, eventsFile)); err != nil || len(events) == 0 {
		t.Errorf("of the history there are %d events, %v", len(events), err)
	}
	if t.Failed() {
		t.Log(told.String())
	}
}
