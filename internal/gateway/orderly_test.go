package gateway_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// All share one connection to the gRPC server, which takes so many calls and no more.
func TestWhoWaitsDoesNotStandInTheWayOfWhoDoesNot(t *testing.T) {
	const most, callers = 256, 150
	var mu sync.Mutex
	var waiting, longest int
	fake := &fakeConn{call: func(ctx context.Context, req any) error {
		get, ok := req.(*tokenbrokerv1.GetTokenRequest)
		if _, report := req.(*tokenbrokerv1.ReportInvalidTokenRequest); !report && (!ok || get.GetMinTtl() == nil) {
			return nil
		}
		mu.Lock()
		waiting++
		longest = max(longest, waiting)
		mu.Unlock()
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		waiting--
		return status.FromContextError(ctx.Err()).Err()
	}}
	inBubble(t, fake, func(t *testing.T, dial func() net.Conn) {
		ask := func(request string) (int, time.Duration) {
			conn, began := dial(), time.Now()
			defer conn.Close()
			send(t, conn, request+"\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Error(err)
				return 0, 0
			}
			hangUp(conn, resp)
			return resp.StatusCode, time.Since(began)
		}
		var asking sync.WaitGroup
		for request, wait := range map[string]time.Duration{
			"GET /v1/tokens/a?min_ttl=5m HTTP/1.1":                                              30 * time.Second,
			"GET /v1/tokens/a?min_ttl=5m HTTP/1.1\r\nGrpc-Timeout: 7S":                          7 * time.Second,
			"POST /v1/tokens/a:reportInvalid HTTP/1.1\r\nContent-Length: 0\r\nGrpc-Timeout: 9S": 9 * time.Second,
		} {
			for range callers {
				asking.Go(func() {
					if code, took := ask(request); code != http.StatusGatewayTimeout || took != wait {
						t.Errorf("%s: %d after %v", request, code, took)
					}
				})
			}
		}
		synctest.Wait()
		for _, path := range []string{"/v1/tokens/b", "/v1/tokens", "/v1/status"} {
			if code, took := ask("GET " + path + " HTTP/1.1"); code != http.StatusOK || took != 0 {
				t.Errorf("%s: %d after %v", path, code, took)
			}
		}
		asking.Wait()
		if longest != most || waiting != 0 {
			t.Errorf("%d calls waited at once, %d still do", longest, waiting)
		}
	})
}
