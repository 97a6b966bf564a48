package e2e_test

import (
	"encoding/json"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// demo is a `broker dev` that runs.
type demo struct {
	*process
	grpc, http []string // addresses by replica
	etcd       string
	took       time.Duration // until it said that all is there
}

var replicaLine = regexp.MustCompile(`dev-\d +gRPC (\S+) +HTTP http://(\S+)`)

// startDemo starts a demonstration on free ports, and returns when it says that it is ready.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	began := time.Now()
	free := []string{"dev", "--grpc-port", "0", "--http-port", "0", "--etcd-port", "0", "--wechat-port", "0"}
	d := &demo{process: start(t, nil, program, append(free, args...)...)}
	d.out.await(t, "Ctrl-C ends it.")
	d.took = time.Since(began)
	for _, found := range replicaLine.FindAllStringSubmatch(d.out.String(), -1) {
		d.grpc, d.http = append(d.grpc, found[1]), append(d.http, found[2])
	}
	if found := regexp.MustCompile(`etcd +(http\S+)`).FindStringSubmatch(d.out.String()); found != nil {
		d.etcd = found[1]
	}
	return d
}

// leader returns the address of the replica that leads.
func (d *demo) leader(t *testing.T) string {
	t.Helper()
	var status struct{ Leader struct{ Address string } }
	eventually(t, ample, "the status shows a leader", func() bool {
		r := command(t, "status", "-o", "json", "--server", d.grpc[0])
		return json.Unmarshal([]byte(r.out), &status) == nil && status.Leader.Address != ""
	})
	return status.Leader.Address
}

// shown is a token as the command line's JSON and the generic client show it.
type shown struct {
	Token struct {
		Name        string
		AccessToken string
		Version     string
		TTL         string `json:"ttl"`
		State       string
	}
}

func readToken(t *testing.T, text string) shown {
	t.Helper()
	var s shown
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return s
}

func (s shown) ttl(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s.Token.TTL)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDemonstrationServesTheSameTokenAtEveryReplicaWithALifeThatFalls(t *testing.T) {
	d := startDemo(t)
	t.Logf("ready after %v", d.took.Round(time.Millisecond))
	if d.took > 3*time.Second {
		t.Errorf("ready after %v, want within 3s", d.took)
	}
	if len(d.grpc) != 3 {
		t.Fatalf("%d replicas are shown:\n%s", len(d.grpc), d.out.String())
	}
	if !strings.Contains(d.out.String(), "NOT FOR PRODUCTION") {
		t.Errorf("there is no warning:\n%s", d.out.String())
	}

	first := readToken(t, get(t, d.grpc[0], "demo-stable", "json"))
	// A replica that was not up yet when the token was fetched counts its life by wall clocks, and takes their largest skew off; so it is
	// at each replica that the life falls, and not from one to the next.
	said := map[string]time.Duration{}
	for range 2 {
		for i, address := range d.grpc {
			next := readToken(t, get(t, address, "demo-stable", "json"))
			if diff := cmp.Diff(first.Token.AccessToken+first.Token.Version, next.Token.AccessToken+next.Token.Version); diff != "" {
				t.Errorf("replica %d hands out another token: %s", i, diff)
			}
			ttl := next.ttl(t)
			if ttl > 2*time.Hour || ttl < 2*time.Hour-time.Minute {
				t.Errorf("at replica %d a new token of 2h has a ttl of %v", i, ttl)
			}
			if before, asked := said[address]; asked && ttl >= before {
				t.Errorf("replica %d says a ttl of %v, after %v was said", i, ttl, before)
			}
			said[address] = ttl
		}
	}

	if got := get(t, d.grpc[2], "demo-stable", "value"); got != first.Token.AccessToken+"\n" {
		t.Errorf("-o value prints %q, want the token on a line of its own", got)
	}
	table := get(t, d.grpc[1], "demo-stable", "table")
	for _, want := range []string{"name       demo-stable\n", "version    1\n", "state      active", "ttl        1h59m", first.Token.AccessToken[:4] + "..."} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table:\n%s", want, table)
		}
	}
	if strings.Contains(table, first.Token.AccessToken) {
		t.Error("the table shows the whole token")
	}

	generic := readToken(t, callByReflection(t, dial(t, d.grpc[1]), "tokenbroker.v1.TokenBrokerService", "GetToken", `{"name":"demo-stable"}`))
	if generic.Token.AccessToken != first.Token.AccessToken || generic.Token.Version != first.Token.Version || generic.ttl(t) >= said[d.grpc[1]] {
		t.Errorf("a generic client gets version %s with a ttl of %v", generic.Token.Version, generic.ttl(t))
	}
}

// The lines that the demonstration prints to be copied.
func TestWhatTheDemonstrationSuggestsWorks(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--replicas", "2")
	suggested := 0
	for line := range strings.Lines(d.out.String()) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != program {
			continue
		}
		suggested++
		if words[1] == "watch" { // it never ends
			start(t, nil, program, words[1:]...).out.await(t, "active")
		} else if r := command(t, words[1:]...); r.code != 0 || r.err != "" || r.out == "" {
			t.Errorf("%s exit code %d\n%s%s", line, r.code, r.out, r.err)
		}
	}
	if suggested < 4 {
		t.Errorf("%d commands are suggested:\n%s", suggested, d.out.String())
	}
}

// get runs `broker get`.
func get(t *testing.T, server, name, form string) string {
	t.Helper()
	r := command(t, "get", name, "--server", server, "-o", form)
	if r.code != 0 || r.err != "" {
		t.Fatalf("broker get -o %s: exit code %d\n%s", form, r.code, r.err)
	}
	return r.out
}

func TestDemonstrationWithShortLivesShowsRotations(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--token-ttl", "60s")
	watch := start(t, nil, program, "watch", "demo-classic", "-o", "json", "--server", d.leader(t))
	// A rotating token is fetched anew in the second half of its life.
	eventually(t, ample+ample, "a second version", func() bool { return strings.Contains(watch.out.String(), `"version":"2"`) })
	var versions []string
	for line := range strings.Lines(watch.out.String()) {
		s := readToken(t, line)
		if s.Token.State != "TOKEN_STATE_ACTIVE" {
			t.Errorf("version %s is %s", s.Token.Version, s.Token.State)
		}
		versions = append(versions, s.Token.Version)
	}
	if diff := cmp.Diff([]string{"1", "2"}, versions); diff != "" {
		t.Errorf("the stream shows versions (-want +got)\n%s", diff)
	}
	watch.signal(t, os.Interrupt)
	if code := watch.exit(t); code != 0 {
		t.Errorf("an interrupted watch ends with exit code %d", code)
	}
}

func TestInterruptEndsTheDemonstrationAndLeavesNothing(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--replicas", "2")
	// Clients that are still there must not hold it up.
	watch := start(t, nil, program, "watch", "demo-stable", "--server", d.grpc[0])
	watch.out.await(t, "active")
	told := time.Now()
	d.signal(t, syscall.SIGINT)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(told); took > 3*time.Second {
		t.Errorf("it took %v to end", took)
	}
	for _, address := range append(append(d.grpc, d.http...), strings.TrimPrefix(d.etcd, "http://")) {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			t.Errorf("somebody still listens on %s", address)
		}
	}
	var folder string
	for _, variable := range d.cmd.Env {
		if value, ok := strings.CutPrefix(variable, "TMPDIR="); ok {
			folder = value
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
