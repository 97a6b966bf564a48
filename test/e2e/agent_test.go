package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// agent is a `broker agent` that serves on unix sockets and keeps files, in a folder of its own.
type agent struct {
	*process
	dir       string
	conn      *grpc.ClientConn
	statement string // the file of the stable token, as JSON
	bare      string // and as a value
}

// startAgent starts an agent of the replicas, and returns when it serves. Its folder has a short name: sockets have to fit into 100 bytes.
func startAgent(t *testing.T, brokers []*broker) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-") //nolint:usetesting // t.TempDir has the name of the test in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &agent{dir: dir, statement: filepath.Join(dir, "stable.json"), bare: filepath.Join(dir, "stable.txt")}
	a.conn = connect(t, "unix://"+a.path("grpc"), grpc.WithDisableRetry())
	a.launch(t, brokers)
	return a
}

func (a *agent) path(name string) string { return filepath.Join(a.dir, name+".sock") }

func (a *agent) launch(t *testing.T, brokers []*broker) {
	t.Helper()
	a.process = start(t, nil, program, a.args(brokers)...)
	eventually(t, ample, "the agent serves", func() bool {
		conn, err := net.Dial("unix", a.path("http"))
		if err == nil {
			conn.Close()
		} else if !a.running() {
			t.Fatalf("the agent ended:\n%s", a.err.String())
		}
		return err == nil
	})
}

func (a *agent) args(brokers []*broker) []string {
	var servers []string
	for _, b := range brokers {
		servers = append(servers, b.grpc)
	}
	return []string{
		"agent", "--server", strings.Join(servers, ","), "--listen", "unix://" + a.path("grpc"), "--http-listen", "unix://" + a.path("http"),
		"--file", stable + "=" + a.statement, "--value-file", stable + "=" + a.bare, "--log-level", "debug",
	}
}

// fetch gets a page over the socket.
func (a *agent) fetch(t *testing.T, path string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.path("http"))
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// reading is what a program finds in a file, and when it looked.
type reading struct {
	AccessToken string    `json:"access_token"`
	State       string    `json:"state"`
	ExpiresIn   int64     `json:"expires_in"`
	WrittenAt   time.Time `json:"written_at"`

	began, ended time.Time
}

func readStatement(t *testing.T, path string) reading {
	t.Helper()
	r := reading{began: time.Now()}
	data, err := os.ReadFile(path)
	r.ended = time.Now()
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Errorf("%v in %q", err, data)
	}
	return r
}

// readers read both files until the test calls what is returned, which holds all that was read against WeChat's record: until the second
// that the file itself names, its token was alive; and a bare value was there, or dead for no longer than the agent may take to notice.
func (a *agent) readers(t *testing.T, w *wechattest.WeChat) (end func()) {
	t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	var statements []reading
	values := map[string]time.Time{} // when each was read last
	all.Go(func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			statements = append(statements, readStatement(t, a.statement))
			began := time.Now()
			if data, err := os.ReadFile(a.bare); err == nil {
				values[strings.TrimSpace(string(data))] = began
			}
		}
	})
	stopAll := sync.OnceFunc(func() { close(stop); all.Wait() })
	t.Cleanup(stopAll)
	return func() {
		t.Helper()
		stopAll()
		if len(statements) == 0 {
			t.Error("nobody read the file")
		}
		for _, r := range statements {
			good := r.WrittenAt.Add(time.Duration(r.ExpiresIn) * time.Second)
			if dies, issued := w.DiesAt(r.AccessToken); r.AccessToken != "" && (!issued || good.After(dies)) {
				t.Errorf("a file promised a token until %v that died at %v", good, dies)
				break
			}
		}
		for value, last := range values {
			if dies, issued := w.DiesAt(value); !issued || last.After(dies.Add(noticeTime)) {
				t.Errorf("a value that died at %v was in its file at %v", dies, last)
			}
		}
	}
}

// noticeTime is how long an agent may take to take away a value, on a machine that has much else to do.
const noticeTime = 10 * time.Second

func TestAnAgentServesUntilTheTrueEndWhileAllReplicasAreGone(t *testing.T) {
	t.Parallel()
	const life = 20 * time.Second
	s := newSite(t, 1, wechattest.Config{TokenLife: life, Overlap: 5 * time.Second})
	s.serve(t, 2, account(stable, "stable", "wx-stable", s.upstream, "max_life: 20s, overlap: 5s"), stable)
	a := startAgent(t, s.brokers)
	service := tokenbrokerv1.NewTokenBrokerServiceClient(a.conn)
	eventually(t, ample, "the file is there", func() bool { _, err := os.Stat(a.statement); return err == nil })
	judgeFiles := a.readers(t, s.wechat)
	tr := startTraffic(t, map[string]*grpc.ClientConn{"agent": a.conn}, stable)
	tr.goOn(t)
	first := readStatement(t, a.statement).AccessToken
	eventually(t, 2*life, "a rotation reaches the file", func() bool { return readStatement(t, a.statement).AccessToken != first })
	tr.goOn(t)
	answers := tr.end()

	for _, b := range s.brokers {
		b.kill()
	}
	var end time.Time // as the broker stated it
	var refused error
	for refused == nil { // every call until the first that brings nothing
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		sent := time.Now()
		resp, err := service.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: stable})
		cancel()
		if refused = err; err != nil {
			if early := end.Sub(sent); early > callTime {
				t.Errorf("the agent gave up %v before the token's end", early)
			}
			continue
		}
		end = resp.GetToken().GetExpireTime().AsTime()
		if dies, _ := s.wechat.DiesAt(resp.GetToken().GetAccessToken()); sent.After(dies) {
			t.Fatalf("the agent handed out a token that died %v before", sent.Sub(dies))
		}
		answers = append(answers, answer{caller: "agent", name: stable, sent: sent, received: time.Now(), token: resp.GetToken()})
		<-time.After(20 * time.Millisecond)
	}
	if !strings.Contains(refused.Error(), "reaches no broker") {
		t.Errorf("it then said: %v", refused)
	}
	eventually(t, ample, "the files are empty", func() bool {
		_, err := os.Stat(a.bare)
		r := readStatement(t, a.statement)
		return errors.Is(err, fs.ErrNotExist) && r.AccessToken == "" && r.State == "expired"
	})

	for _, b := range s.brokers {
		b.restart(t)
	}
	eventually(t, 2*ample, "the agent has a token again", func() bool { return readStatement(t, a.statement).State == "active" })
	judgeFiles()
	court := newCourt(s.wechat)
	court.suspect = true
	court.judge(t, answers)
	a.searched(t, s.wechat)
}

// searched ends the agent, and looks for tokens in what it wrote.
func (a *agent) searched(t *testing.T, w *wechattest.WeChat) {
	t.Helper()
	a.signal(t, syscall.SIGTERM)
	if code := a.exit(t); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
	for _, name := range []string{"grpc", "http"} {
		if _, err := os.Lstat(a.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the agent left its socket %s", name)
		}
	}
	for _, issued := range w.History() {
		for _, form := range forms(issued.Token) {
			if strings.Contains(a.out.String()+a.err.String(), form) {
				t.Error("there is a token in what the agent wrote")
			}
		}
	}
}

func TestAnAgentAnswersLocalProgramsInEveryWay(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 1, s.bothTokens(), stable, classic)
	a := startAgent(t, s.brokers)

	value := firstToken(t, s.brokers[0], classic).GetAccessToken()
	if got := a.fetch(t, "/v1/tokens/"+classic); !strings.Contains(got, value) {
		t.Errorf("JSON: %s", got)
	}
	compatible := "/cgi-bin/token?" + url.Values{"grant_type": {"client_credential"}, "appid": {"wx-classic"}, "secret": {"agent"}}.Encode()
	if got := a.fetch(t, compatible); !strings.Contains(got, `{"access_token":"`+value+`","expires_in":2`) {
		t.Errorf("WeChat's call: %s", got)
	}
	if got := a.fetch(t, strings.Replace(compatible, "secret=agent", "secret="+secret, 1)); !strings.Contains(got, `"errcode":40125`) {
		t.Errorf("with the AppSecret: %s", got)
	}
	if got := command(t, "get", classic, "-o", "value", "--server", "unix://"+a.path("grpc")); strings.TrimSpace(got.out) != value {
		t.Errorf("the command line exits with %d and says: %s", got.code, got.err)
	}

	second := start(t, nil, program, a.args(s.brokers)...)
	if code := second.exit(t); code != 1 || !strings.Contains(second.err.String(), "another process listens there") {
		t.Errorf("a second agent ends with exit code %d and says:\n%s", code, second.err.String())
	}
	if got := a.fetch(t, "/v1/tokens/"+classic); !strings.Contains(got, value) {
		t.Errorf("after the second agent: %s", got)
	}
	a.kill()
	a.launch(t, s.brokers) // in the place of the dead one
	if got := a.fetch(t, "/v1/tokens/"+classic); !strings.Contains(got, value) {
		t.Errorf("the next agent: %s", got)
	}
	a.searched(t, s.wechat)
}

func TestExecHandsTokensToACommandAndNobodyElse(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 1, s.bothTokens(), stable, classic)
	b := s.brokers[0]
	values := map[string]string{}
	for _, name := range []string{stable, classic} {
		values[name] = firstToken(t, b, name).GetAccessToken()
	}
	run := func(args ...string) result {
		return command(t, append([]string{"exec", "--server", b.grpc, "--token", stable + "=WX", "--token", classic + "=OTHER"}, args...)...)
	}
	if got := run("--", "/bin/sh", "-c", `echo "$WX $OTHER"; exit 7`); got.out != values[stable]+" "+values[classic]+"\n" || got.code != 7 || got.err != "" {
		t.Errorf("the command ends with exit code %d, and %q", got.code, got.err)
	}
	for what, c := range map[string]struct {
		args []string
		code int
	}{
		"a token that does not exist": {[]string{"--token", "nope=NOPE", "--", "/bin/true"}, 2},
		"no broker":                   {[]string{"--server", etcdtest.FreeAddress(t), "--timeout", "1s", "--", "/bin/true"}, 3},
		"too long a life":             {[]string{"--min-ttl", "9h", "--", "/bin/true"}, 1},
		"no command of that name":     {[]string{"--", "/no/such/command"}, 127},
		"not a command":               {[]string{"--", b.file}, 126},
		"a bad variable":              {[]string{"--token", stable + "=A-B", "--", "/bin/true"}, 64},
		"two tokens in one variable":  {[]string{"--token", stable + "=WX", "--", "/bin/true"}, 64},
		"no command":                  {nil, 64},
	} {
		args := c.args
		if what == "no broker" { // instead of the one that there is
			if got := command(t, append([]string{"exec", "--token", stable + "=WX"}, args...)...); got.code != c.code {
				t.Errorf("%s: exit code %d, want %d: %s", what, got.code, c.code, got.err)
			}
			continue
		}
		if got := run(args...); got.code != c.code || got.err == "" {
			t.Errorf("%s: exit code %d, want %d: %s", what, got.code, c.code, got.err)
		}
	}

	// Signals reach the command, and nobody stands between it and its parent.
	p := start(t, nil, program, "exec", "--server", b.grpc, "--token", stable+"=WX", "--", "/bin/sh", "-c", `trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done`)
	p.out.await(t, "ready")
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil || !strings.HasPrefix(string(line), "/bin/sh\x00") || strings.Contains(string(line), values[stable]) {
		t.Errorf("the command line is %q, %v", line, err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 9 || !strings.Contains(p.out.String(), "caught") {
		t.Errorf("after SIGTERM the exit code is %d, and it wrote %q", code, p.out.String())
	}
	p = start(t, nil, program, "exec", "--server", b.grpc, "--token", stable+"=WX", "--", "/bin/sh", "-c", `echo ready; while :; do sleep 0.1; done`)
	p.out.await(t, "ready")
	p.signal(t, syscall.SIGINT)
	<-p.ended
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("after SIGINT: %v", p.cmd.ProcessState)
	}
	for _, value := range values {
		if strings.Contains(b.err.String()+p.err.String(), value[:pieceSize]) {
			t.Error("there is a token in a log")
		}
	}
}
