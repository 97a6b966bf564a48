package gateway_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// All share one connection to the gRPC server, which takes so many calls and no more. No bubble: the race detector of Go 1.26 breaks down
// over as many goroutines in one.
func TestWhoWaitsDoesNotStandInTheWayOfWhoDoesNot(t *testing.T) {
	const most, callers = 192, 100 // of one address; all together, 256
	var mu sync.Mutex
	var waiting, longest int
	full := make(chan struct{})
	fill := sync.OnceFunc(func() { close(full) })
	fake := &fakeConn{ended: make(chan struct{}), call: func(ctx context.Context, req any) error {
		get, ok := req.(*tokenbrokerv1.GetTokenRequest)
		if _, report := req.(*tokenbrokerv1.ReportInvalidTokenRequest); !report && (!ok || get.GetMinTtl() == nil || get.GetName() == "renewed") {
			return nil
		}
		mu.Lock()
		waiting++
		if longest = max(longest, waiting); waiting == most {
			fill()
		}
		mu.Unlock()
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		waiting--
		return status.FromContextError(ctx.Err()).Err()
	}}
	g, err := gateway.New(gateway.Config{Conn: fake})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	var ending sync.WaitGroup
	ending.Go(func() { _ = g.Run(running, listener) })

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(ctx context.Context, method, path, timeout string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+listener.Addr().String()+path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Grpc-Timeout", timeout)
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	patient, hangUp := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for _, request := range [][2]string{{"GET", "/v1/tokens/a?min_ttl=5m"}, {"GET", "/v1/tokens/b?min_ttl=1m"}, {"POST", "/v1/tokens/a:reportInvalid"}} {
		for range callers {
			asking.Go(func() {
				if code, err := ask(patient, request[0], request[1], "60S"); err == nil {
					t.Errorf("%s was answered %d, and nobody hung up", request[1], code)
				}
			})
		}
	}
	<-full
	for _, path := range []string{"/v1/tokens/b", "/v1/tokens", "/v1/status"} {
		if code, err := ask(t.Context(), "GET", path, "60S"); err != nil || code != http.StatusOK {
			t.Errorf("%s: %d, %v", path, code, err)
		}
	}
	if code, err := ask(t.Context(), "GET", "/v1/tokens/renewed?min_ttl=5m", "50m"); err != nil || code != http.StatusGatewayTimeout {
		t.Errorf("who waits for a place in vain gets %d, %v", code, err)
	}
	client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}
	if code, err := ask(t.Context(), "GET", "/v1/tokens/renewed?min_ttl=5m", "60S"); err != nil || code != http.StatusOK {
		t.Errorf("who waits at another address stands in line behind them: %d, %v", code, err)
	}
	hangUp()
	asking.Wait()
	stop()
	ending.Wait()
	if longest != most || waiting != 0 {
		t.Errorf("%d calls waited at once, %d still do", longest, waiting)
	}
}
