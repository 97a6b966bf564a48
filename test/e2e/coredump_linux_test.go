package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// idleBroker describes a replica that reaches neither etcd nor an upstream.
func idleBroker(t *testing.T) *broker {
	t.Helper()
	b := newBroker(t, "idle", `{endpoints: ["http://127.0.0.1:1"]}`, account(stable, "stable", "wx-stable", "http://127.0.0.1:1", ""))
	b.configure(t)
	return b
}

func TestABrokerThatIsMadeToAbortLeavesNoCore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, running string
	}{
		{"serve --config " + idleBroker(t).file, "advertise="},
		{"agent --server 127.0.0.1:1 --http-listen 127.0.0.1:0", "msg=starting"},
		{"dev --replicas 1 --grpc-port 0 --http-port 0 --gateway-port 0 --etcd-port 0 --wechat-port 0", "fetched"},
	} {
		dir := t.TempDir()
		// The shell permits a core as large as it may itself. With this GOTRACEBACK Go ends a process that aborts in the way that leaves one.
		p := start(t, []string{"GOTRACEBACK=crash", secretVariable + "=" + secret}, "/bin/sh",
			append([]string{"-c", `ulimit -c "$(ulimit -H -c)" && cd "$1" && shift && exec "$@"`, "sh", dir, program}, strings.Fields(c.line)...)...)
		p.err.await(t, c.running)

		limits := ofProcess(t, p.cmd.Process.Pid, "limits")
		if fields := strings.Fields(lineWith(limits, "Max core file size")); len(fields) < 5 || fields[4] != "0" {
			t.Errorf("broker %s has the limits\n%s", c.line, limits)
		}
		p.signal(t, syscall.SIGABRT)
		p.exit(t)
		ended, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || ended.Signal() != syscall.SIGABRT || !strings.Contains(p.err.String(), "goroutine ") {
			t.Errorf("broker %s ended with %v", c.line, p.cmd.ProcessState)
		}
		if ended.CoreDump() {
			t.Errorf("broker %s dumped core", c.line)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "core*")); len(left) > 0 {
			t.Errorf("broker %s left %v", c.line, left)
		}
	}
}

// A process that may not be dumped has its files in /proc belong to root, and so nobody else can read its memory or attach to it. The test runs
// it as an ordinary user if it can.
func TestOnlyRootCanReadTheMemoryOfABroker(t *testing.T) {
	t.Parallel()
	b := idleBroker(t)
	if err := os.Chmod(b.file, 0o644); err != nil {
		t.Fatal(err)
	}
	exe, config := opened(t, program), opened(t, b.file)
	// The files are named by what is inherited: an ordinary user may not enter the folders that they are in.
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "serve", "--config", "/proc/self/fd/4")
	var out, errs transcript
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", []string{secretVariable + "=" + secret}, []*os.File{exe, config}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &errs, brokertest.EndWithParent()
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(p.kill)
	eventually(t, ample, "the broker serves its metrics", func() bool {
		code, _ := fetch(t, "http://"+b.http+"/metrics")
		return code == http.StatusOK || !p.running()
	})

	for _, name := range []string{"environ", "mem", "maps"} {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
		if err != nil {
			t.Fatalf("%v\n%s", err, errs.String())
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 {
			t.Errorf("%s belongs to %d", name, owner.Uid)
		}
	}
	// It still knows about itself.
	_, page := fetch(t, "http://"+b.http+"/metrics")
	for _, metric := range []string{"process_open_fds ", "process_max_fds ", "process_resident_memory_bytes "} {
		if !strings.Contains(page, "\n"+metric) {
			t.Errorf("there is no %s in\n%s", metric, page)
		}
	}
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// ofProcess reads what the kernel tells of a process.
func ofProcess(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lineWith is the first line that begins with a text; empty if there is none.
func lineWith(text, beginning string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, beginning) {
			return line
		}
	}
	return ""
}
