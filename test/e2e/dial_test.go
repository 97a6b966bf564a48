package e2e_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checks
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// dial returns a connection to one replica, without anything that could hide a failure: no retries, no waiting.
func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	return connect(t, "passthrough:///"+address, grpc.WithDisableRetry())
}

// dialAll returns a connection that spreads calls over replicas as a service config says.
func dialAll(t *testing.T, serviceConfig string, brokers ...*broker) *grpc.ClientConn {
	t.Helper()
	names := manual.NewBuilderWithScheme("brokers")
	var state resolver.State
	for _, b := range brokers {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: b.grpc}}})
	}
	names.InitialState(state)
	return connect(t, "brokers:///all", grpc.WithResolvers(names), grpc.WithDefaultServiceConfig(serviceConfig))
}

func connect(t *testing.T, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// publishedServiceConfig is the service config that callers are given, as it stands in the program's source.
func publishedServiceConfig(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, "cmd", "broker", "dial.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(source), "callerConfig = `")
	config, _, ended := strings.Cut(rest, "`")
	if !found || !ended {
		t.Fatal("cmd/broker/dial.go has no callerConfig")
	}
	return config
}

// fetch gets a page. The code is 0 if nobody answers.
func fetch(t *testing.T, url string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}
