package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the wall clock of every command here.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.FixedZone("", 8*3600))

func stamp(fromNoon time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(fromNoon)) }

// command runs one command line against address and returns all that a user sees of it.
func command(ctx context.Context, address, stdin string, args ...string) string {
	return commandIn(ctx, fakeEnvironment(map[string]string{serverVariable: address}), address, stdin, args...)
}

// commandIn is command in an environment.
func commandIn(ctx context.Context, env environment, address, stdin string, args ...string) string {
	var out, errs bytes.Buffer
	code := run(ctx, args, console{
		in: strings.NewReader(stdin), out: &out, err: &errs,
		env: env,
		now: func() time.Time { return noon },
	})
	text := fmt.Sprintf("$ broker %s\n%s", strings.Join(args, " "), out.String())
	if errs.Len() > 0 {
		text += "--- standard error\n" + errs.String()
	}
	return strings.ReplaceAll(text+fmt.Sprintf("--- exit code %d\n", code), address, "ADDRESS")
}

// golden compares with testdata/NAME.txt.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

const shopValue = "66_Kx9aJ-2fVbq81LmNwErT0yUiOpAsDfGhJkZxCvBnMQwErTy1234"

func shopToken() *tokenbrokerv1.Token {
	return &tokenbrokerv1.Token{
		Name: "shop", AccessToken: shopValue, Version: 17, Ttl: durationpb.New(7198*time.Second + 500*time.Millisecond),
		ExpireTime: stamp(7198 * time.Second), State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, RefreshAfter: durationpb.New(95 * time.Minute),
	}
}

func refusal(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	s, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		return err
	}
	return s.Err()
}

func TestCallersSeeTokensAndRefusals(t *testing.T) {
	suspect := shopToken()
	suspect.State, suspect.Ttl, suspect.RefreshAfter = tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT, nil, durationpb.New(time.Second)
	b := &fakeBroker{
		get: func(r *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
			switch r.GetName() {
			case "wallet":
				alone := shopToken()
				alone.Name, alone.Local = "wallet", true
				return &tokenbrokerv1.GetTokenResponse{Token: alone}, nil
			case "shop":
				return &tokenbrokerv1.GetTokenResponse{Token: shopToken()}, nil
			case "suspect":
				return &tokenbrokerv1.GetTokenResponse{Token: suspect}, nil
			case "dead":
				return nil, refusal(codes.Unavailable, "no living token can be promised now",
					&errdetails.RetryInfo{RetryDelay: durationpb.New(90 * time.Second)},
					&errdetails.ErrorInfo{Reason: "EXPIRED", Domain: "tokenbroker", Metadata: map[string]string{
						"upstream_code": "40164", "upstream_meaning": "this address is not on the whitelist", "upstream_remedy": "add 203.0.113.7 to the IP whitelist"}})
			case "short":
				return nil, refusal(codes.FailedPrecondition, fmt.Sprintf("min_ttl: %v is longer than tokens ever live", r.GetMinTtl().AsDuration()))
			default:
				return nil, refusal(codes.NotFound, "there is no token of that name")
			}
		},
		report: func(r *tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
			if r.GetVersion() == 16 || r.GetAccessToken() == "the-dead-one" || r.GetVersion() == 17 {
				return &tokenbrokerv1.ReportInvalidTokenResponse{Token: shopToken()}, nil
			}
			return nil, refusal(codes.ResourceExhausted, "the daily budget is spent",
				&errdetails.RetryInfo{RetryDelay: durationpb.New(7*time.Hour + 5*time.Minute)})
		},
		list: &tokenbrokerv1.ListTokensResponse{Tokens: []*tokenbrokerv1.Token{
			{Name: "empty", State: tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED},
			{Name: "shop", Version: 17, State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Ttl: durationpb.New(4 * time.Minute), ExpireTime: stamp(time.Hour)},
			{Name: "suspect", Version: 3, State: tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT, ExpireTime: stamp(-30 * time.Hour)},
			{Name: "wallet", Version: 1763712345678901, State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Ttl: durationpb.New(time.Hour), Local: true},
		}},
	}
	address := b.start(t)
	for _, tc := range []struct{ name, stdin, args string }{
		{"get", "", "get shop"},
		{"get-local", "", "get wallet"},
		{"get-json", "", "get shop -o json"},
		{"get-value", "", "get shop -o value"},
		{"get-suspect", "", "get suspect"},
		{"get-dead", "", "get dead"},
		{"get-unknown", "", "get nothing"},
		{"get-min-ttl", "", "get short --min-ttl 3h"},
		{"report", "", "report-invalid shop --version 16"},
		{"report-alive", "", "report-invalid shop --version 17"},
		{"report-value", "the-dead-one\n", "report-invalid shop --stdin"},
		{"report-exhausted", "", "report-invalid shop --version 3"},
		{"report-nothing", "\n", "report-invalid shop --stdin"},
		{"report-incomplete", "", "report-invalid shop"},
		{"list", "", "list"},
		{"list-json", "", "list -o json"},
		{"usage-output", "", "list -o yaml"},
		{"usage-argument", "", "get"},
		{"usage-command", "", "fetch shop"},
		{"usage-server", "", "get shop --server nowhere"},
		{"usage-timeout", "", "get shop --timeout 0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			golden(t, tc.name, command(t.Context(), address, tc.stdin, strings.Fields(tc.args)...))
		})
	}
	golden(t, "complete", command(t.Context(), address, "", "__complete", "get", ""))
}

func TestUnreachableBrokerIsSaidToBeUnreachable(t *testing.T) {
	address := closedPort(t)
	for _, args := range []string{"get shop", "watch shop", "status", "refresh shop"} {
		got := command(t.Context(), address, "", append(strings.Fields(args), "--timeout", "300ms")...)
		for _, want := range []string{"no broker answers", "server   ADDRESS", "connection refused", "exit code 3"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	}
}

func TestSilentBrokerExhaustsTheTimeout(t *testing.T) {
	release := make(chan struct{})
	b := &fakeBroker{get: func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
		<-release
		return nil, status.Error(codes.Aborted, "late")
	}}
	address := b.start(t)
	got := command(t.Context(), address, "", "get", "shop", "--timeout", "200ms")
	close(release)
	if !strings.Contains(got, "DEADLINE_EXCEEDED") || !strings.Contains(got, "exit code 5") {
		t.Error(got)
	}
}

func TestCallersAvoidABrokerThatDoesNotServe(t *testing.T) {
	answer := func(name string) func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
		return func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
			return &tokenbrokerv1.GetTokenResponse{Token: &tokenbrokerv1.Token{AccessToken: name}}, nil
		}
	}
	leaving, serving := &fakeBroker{get: answer("leaving")}, &fakeBroker{get: answer("serving")}
	addresses := leaving.start(t) + "," + closedPort(t) + "," + serving.start(t)
	leaving.health.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_NOT_SERVING)
	for range 5 {
		if got := command(t.Context(), addresses, "", "get", "shop", "-o", "value"); !strings.Contains(got, "\nserving\n") {
			t.Fatal(got)
		}
	}
}

func TestTimeoutComesFromTheEnvironmentToo(t *testing.T) {
	for variable, want := range map[string]string{"200ms": "no broker answers", "soon": "TOKENBROKER_TIMEOUT is not a duration"} {
		var out, errs bytes.Buffer
		run(t.Context(), []string{"list"}, console{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now,
			env: fakeEnvironment(map[string]string{timeoutVariable: variable, serverVariable: closedPort(t)})})
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%s: got %s", variable, errs.String())
		}
	}
}

func TestHealthcheckTellsByItsExitCode(t *testing.T) {
	b := &fakeBroker{}
	address := b.start(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusOK)
			return
		}
		http.Error(w, "the view was never proved current", http.StatusServiceUnavailable)
	}))
	defer web.Close()
	for _, tc := range []struct {
		args, want string
		code       int
	}{
		{"healthcheck", "SERVING", 0},
		{"healthcheck --service tokenbroker.v1.TokenBrokerService", "SERVING", 0},
		{"healthcheck --service nothing", "NOT_FOUND", 1},
		{"healthcheck --http " + web.URL + "/readyz", "200 OK", 0},
		{"healthcheck --http " + web.URL + "/other", "503 Service Unavailable: the view was never proved current", 1},
		{"healthcheck --server " + closedPort(t), "no broker answers", 1},
		{"healthcheck --http http://" + closedPort(t), "connection refused", 1},
		{"healthcheck --http " + strings.Replace(web.URL, "http:", "https:", 1), "write http://", 1},
		{"healthcheck now", "unknown command", 64},
	} {
		got := command(t.Context(), address, "", append(strings.Fields(tc.args), "--timeout", "2s")...)
		if !strings.Contains(got, tc.want) || !strings.Contains(got, fmt.Sprintf("exit code %d\n", tc.code)) {
			t.Errorf("want %q and exit code %d, got:\n%s", tc.want, tc.code, got)
		}
	}
	b.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	if got := command(t.Context(), address, "", "healthcheck"); !strings.Contains(got, "NOT_SERVING") || !strings.Contains(got, "exit code 1\n") {
		t.Error(got)
	}
}

func TestVersionIsShown(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}} {
		if got := command(t.Context(), "x:1", "", args...); !strings.Contains(got, "linux/") || !strings.Contains(got, "exit code 0") {
			t.Error(got)
		}
	}
}

func TestEveryExampleCanBeUsed(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range examples {
		got := commandIn(t.Context(), fakeEnvironment(map[string]string{"TOKENBROKER_PLAINTEXT": "", "TOKENBROKER_INSECURE_PLAINTEXT_STORE": ""}), "x:1", "", "config", "validate", "--no-secrets", path)
		if !strings.Contains(got, "exit code 0\n") {
			t.Error(got)
		}
	}
}

func TestValidateShowsProblemsOrWhatWouldRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml": strings.Replace(minimal, "127.0.0.1", "10.0.0.1", 1),
		"bad.yaml":  minimal + "log: {level: loud}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	back, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	var all strings.Builder
	for _, args := range []string{
		"config validate good.yaml", "config validate bad.yaml", "config validate bad.yaml --log-level warn", "config validate bad.yaml -o json",
		"config validate good.yaml -o json", "config validate none.yaml", "config validate", "config validate -o yaml", "config validate a b",
	} {
		all.WriteString(command(t.Context(), "x:1", "", strings.Fields(args)...))
	}
	all.WriteString(command(t.Context(), "x:1", minimal, "config", "validate", "-"))
	t.Chdir(back)
	golden(t, "validate", all.String())
}

func TestAWordThatIsNoCommandOfItsGroupIsRefused(t *testing.T) {
	for _, group := range []string{"config", "policy", "caller", "client", "keys"} {
		if got := runWith(t, nil, group, "disable"); got.code != exitUsage || !strings.Contains(got.err, `unknown command "disable"`) {
			t.Errorf("%s disable: %+v", group, got)
		}
		if got := runWith(t, nil, group); got.code != exitOK || !strings.Contains(got.out, "Available Commands") {
			t.Errorf("%s alone: %+v", group, got)
		}
	}
}
