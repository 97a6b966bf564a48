package e2e_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// shell is a reader of the README who pastes what stands there, block after block, into one shell.
type shell struct {
	dir    string
	input  io.Writer
	output transcript
	blocks int
}

// startShell copies the example into a folder of its own and starts a shell there. What it has begun ends with the test.
func startShell(t *testing.T, path []string, replace *strings.Replacer) *shell {
	t.Helper()
	s := &shell{dir: t.TempDir()}
	for _, name := range []string{"broker.yaml", "make-certificates.sh", "etcd-role.sh"} {
		text, err := os.ReadFile(example(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(replace.Replace(string(text))), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(context.Background(), "bash", "-u")
	cmd.Dir, cmd.Env = s.dir, []string{"PATH=" + strings.Join(append(path, os.Getenv("PATH")), ":"), "TMPDIR=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	cmd.SysProcAttr = brokertest.EndWithParent()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.input = input
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // all of the group; there is nobody else in it
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the shell:\n%s", s.output.Tail(100))
			logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
			for _, log := range logs {
				text, _ := os.ReadFile(log)
				t.Logf("%s:\n%s", filepath.Base(log), text[max(0, len(text)-4000):])
			}
		}
	})
	return s
}

// blocksOf returns what a section of a README says to paste.
func blocksOf(t *testing.T, readme, section string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", readme))
	if err != nil {
		t.Fatal(err)
	}
	_, found, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", readme, section)
	}
	found, _, _ = strings.Cut(found, "\n## ")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```sh\n(.*?)```\n").FindAllStringSubmatch(found, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// paste has the shell carry out a block, and returns what was written meanwhile.
func (s *shell) paste(t *testing.T, block string) string {
	t.Helper()
	before := len(s.output.String())
	s.blocks++
	done := fmt.Sprintf("== block %d is done", s.blocks)
	if _, err := fmt.Fprintf(s.input, "%s\necho '%s'\n", block, done); err != nil {
		t.Fatalf("the shell has ended: %v\n%s", err, s.output.Tail(30))
	}
	eventually(t, 3*ample, "the text \""+done+"\"", func() bool { return strings.Contains(s.output.String(), done) })
	return s.output.String()[before:]
}

// read returns a file of the shell's folder.
func (s *shell) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTheSecureExampleWorksAsPasted: certificates, an etcd with users, three replicas, and who gets what. Addresses are this test's, all else
// is what stands there, in either language.
func TestTheSecureExampleWorksAsPasted(t *testing.T) {
	t.Parallel()
	brokertest.NoteSources()
	programs := t.TempDir()
	if err := brokertest.GoBuild(filepath.Join(programs, "etcd"), "-trimpath", "go.etcd.io/etcd/server/v3"); err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf(t, "README.md", "A secure cluster")
	if diff := cmp.Diff(blocks, blocksOf(t, "README.zh-CN.md", "安全的集群")); diff != "" {
		t.Errorf("the READMEs differ (-English +Chinese):\n%s", diff)
	}
	wechat := etcdtest.FreeAddress(t)
	_, wechatPort, _ := strings.Cut(wechat, ":")
	etcd, peer := etcdtest.FreeAddress(t), "http://"+etcdtest.FreeAddress(t)
	replace := []string{
		"127.0.0.1:2379", etcd,
		"etcd --data-dir etcd-data", "etcd --data-dir etcd-data --unsafe-no-fsync --listen-peer-urls " + peer + " --initial-advertise-peer-urls " + peer + " --initial-cluster default=" + peer,
		"127.0.0.1:7790", wechat, "--gateway-port 0", "--gateway-port 0 --wechat-port " + wechatPort,
		"127.0.0.1:770$i", "${grpc[$i]}", "127.0.0.1:778$i", "${http[$i]}",
	}
	addresses := "grpc=(-"
	web := "http=(-"
	for i := range 3 {
		address := etcdtest.FreeAddress(t)
		addresses += " " + address
		web += " " + etcdtest.FreeAddress(t)
		replace = append(replace, fmt.Sprintf("127.0.0.1:770%d", i+1), address)
	}
	replacer := strings.NewReplacer(replace...)
	s := startShell(t, []string{programs, filepath.Dir(program), filepath.Dir(tool(t, "etcdctl"))}, replacer)
	s.paste(t, addresses+")\n"+web+")")

	said := make([]string, 0, len(blocks))
	for _, block := range blocks {
		said = append(said, s.paste(t, replacer.Replace(block)))
	}
	if len(said) != 7 {
		t.Fatalf("there are %d blocks; this test knows what 7 of them say", len(said))
	}
	for i, parts := range map[int][]string{
		1: {"certificates are in "},
		2: {"Authentication Enabled"},
		3: {"keyset.json has a keyset", "200 OK\n200 OK\n200 OK\n"},
		4: {"state      active", `does not allow spiffe://example.org/outsider to get token "shop"`, "PERMISSION_DENIED", "exit code 7"},
		5: {"exit code 7", `"spiffe://example.org/shop"`, `"spiffe://example.org/outsider"`},
	} {
		for _, part := range parts {
			if !strings.Contains(said[i], part) {
				t.Errorf("block %d does not say %q:\n%s", i+1, part, said[i])
			}
		}
	}
	eventually(t, ample, "the operator sees who leads", func() bool { // a follower may learn it a moment later
		shown := s.paste(t, "broker status --cert-file certificates/operator.pem --key-file certificates/operator-key.pem")
		return strings.Contains(shown, "leads") && strings.Count(shown, "stands by") == 2 && strings.Contains(shown, "1 of 2000")
	})
	eventually(t, ample, "the agent keeps the file", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "shop.json"))
		return err == nil
	})
	_, value, _ := strings.Cut(s.read(t, "shop.json"), `"access_token": "`)
	value, _, _ = strings.Cut(value, `"`)
	if len(value) < 20 {
		t.Errorf("the token is %q", value)
	}
	keys := s.paste(t, `broker keys status --config trial.yaml && echo "all of it opens"`)
	if !strings.Contains(keys, "primary") || !strings.Contains(keys, "broker-3") || !strings.Contains(keys, "all of it opens") {
		t.Errorf("of the keys a replica of that role can tell:\n%s", keys)
	}
	held := s.paste(t, "etcdctl get --prefix /tokenbroker/")
	if !strings.Contains(held, "/tokenbroker/token/shop") || strings.Contains(held, value) {
		t.Errorf("etcd should hold the token, and not its value:\n%s", held)
	}
	for i := range 3 {
		log := s.read(t, fmt.Sprintf("broker-%d.log", i+1))
		for _, complaint := range []string{"permission denied", "TOKENS LIE IN ETCD", "unencrypted", "every user of this machine"} {
			if strings.Contains(log, complaint) {
				t.Errorf("broker-%d complains of %q:\n%s", i+1, complaint, log)
			}
		}
	}
}
