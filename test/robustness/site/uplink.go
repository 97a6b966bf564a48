package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

var errNobody = errors.New("nobody is known at this address")

// Uplink is the HTTP proxy through which one process reaches others. Its methods are safe for concurrent use.
type Uplink struct {
	host    *host // of the process
	address string
	handler http.Handler
	busy    sync.WaitGroup // servers and connections

	mu     sync.Mutex
	server *http.Server // nil while cut
}

// newUplink starts an uplink on a free port.
func newUplink(h *host, handler http.Handler) (*Uplink, error) {
	address, err := h.freeSuite()
	if err != nil {
		return nil, err
	}
	u := &Uplink{host: h, address: address, handler: handler}
	if err := u.Heal(); err != nil {
		return nil, err
	}
	return u, nil
}

// url is what the process needs in its environment.
func (u *Uplink) url() string { return "http://" + u.address }

// Cut breaks all connections and refuses new ones, as a closed port does.
func (u *Uplink) Cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.server != nil {
		_ = u.server.Close() // what it says of connections that were closed already does not matter
		u.server = nil
	}
}

// Heal undoes Cut.
func (u *Uplink) Heal() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.server != nil {
		return nil
	}
	l, err := u.host.listen(u.address)
	if err != nil {
		return fmt.Errorf("opening an uplink: %w", err)
	}
	server := &http.Server{
		Handler:           u.handler,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		// New is told by Serve, before it can return, and Closed by the connection's own goroutine when its handler has returned.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				u.busy.Add(1)
			case http.StateClosed:
				u.busy.Done()
			case http.StateActive, http.StateIdle, http.StateHijacked:
			}
		},
	}
	u.server = server
	u.busy.Go(func() { _ = server.Serve(l) }) // http.ErrServerClosed
	return nil
}

// close cuts the uplink and returns when nothing is served any more. Nobody may hold a request at the other end.
func (u *Uplink) close() {
	u.Cut()
	u.busy.Wait()
}

// toWeChat serves WeChat to one broker, which WeChat sees at an address of its own.
func toWeChat(w *wechattest.WeChat, address string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, port, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil || r.URL.Host != weChatHost {
			http.Error(rw, "only WeChat is reached from here", http.StatusBadGateway)
			return
		}
		seen := r.WithContext(r.Context())
		seen.RemoteAddr = net.JoinHostPort(address, port)
		w.ServeHTTP(rw, seen)
	})
}

// toPeers serves the other members of the cluster to one of them: ways leads from the addresses under which they are known to those of
// the proxies. What is streamed is passed on as it comes; where the way is cut, the connection breaks.
func toPeers(ways map[string]string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				way, known := ways[address]
				if !known {
					return nil, errNobody
				}
				return new(net.Dialer).DialContext(ctx, network, way)
			},
			DisableKeepAlives:  true, // no connection is left over when all is closed
			DisableCompression: true,
		},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}
