package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Where there are no namespaces, all listen on loopback.
const (
	loopbackIP = "127.0.0.1"
	// suiteIP is the suite's address, for those who run in namespaces.
	suiteIP = "10.0.2.1"
)

// ErrNoNamespaces is the cause where network namespaces are asked for and cannot be made.
var ErrNoNamespaces = errors.New("no network namespaces: they take Linux, and root with the right to make them")

// network is what joins the suite with the processes.
type network struct {
	suite *namespace // of the suite's ends of all wires; nil if processes run where the suite does
	hosts []*host
}

// newNetwork returns a network that nobody has joined.
func newNetwork(namespaces bool) (*network, error) {
	if !namespaces {
		return new(network), nil
	}
	suite, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	return &network{suite: suite}, nil
}

// TryNamespaces returns nil if a site can have network namespaces, and else why not.
func TryNamespaces() error {
	n, err := newNetwork(true)
	if err != nil {
		return err
	}
	defer n.close()
	_, err = n.join("10.0.0.1")
	return err
}

// join returns the host of a process, whose address is ip if it gets a namespace.
func (n *network) join(ip string) (*host, error) {
	if n.suite == nil {
		return &host{ip: loopbackIP, suiteIP: loopbackIP}, nil
	}
	h := &host{ip: ip, suiteIP: suiteIP, suite: n.suite}
	var err error
	if h.own, err = newNamespace(); err == nil {
		n.hosts = append(n.hosts, h)
		h.wire, err = lay(h.suite, h.own, suiteIP, ip)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	return h, nil
}

// close gives up all namespaces. All processes have ended.
func (n *network) close() {
	for _, h := range n.hosts {
		h.own.close()
	}
	if n.suite != nil {
		n.suite.close()
	}
}

// host is where a process runs, as the network knows it.
type host struct {
	// ip is where the process listens, and suiteIP where it finds the suite.
	ip, suiteIP string
	// own is the namespace of the process, and suite the one of those who reach it over the wire; nil without.
	own, suite *namespace
	wire       *wire
}

// free returns an address at which the process can listen.
func (h *host) free() (string, error) { return freeAddress(h.own, h.ip) }

// freeSuite returns one at which the suite can listen for the process.
func (h *host) freeSuite() (string, error) { return freeAddress(h.suite, h.suiteIP) }

// listen listens for the process.
func (h *host) listen(address string) (net.Listener, error) { return listen(h.suite, address) }

// dial reaches an address of the process over the wire.
func (h *host) dial(ctx context.Context, address string) (net.Conn, error) {
	return dialFrom(ctx, h.suite, address)
}

// dialAsBroker is dial, but the connection breaks when what was sent on it is not acknowledged in time, as it does between etcd and
// brokers: a proxy acknowledges what nobody gets.
func (h *host) dialAsBroker(ctx context.Context, address string) (net.Conn, error) {
	c, err := h.dial(ctx, address)
	if err != nil || h.wire == nil {
		return c, err
	}
	if err := h.wire.hurry(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// enter reaches an address of the process past the wire.
func (h *host) enter(ctx context.Context, address string) (net.Conn, error) {
	return dialFrom(ctx, h.own, address)
}

// request makes one HTTP request to the process, past the wire, and returns what it answered, or an error unless that was a success.
func (h *host) request(ctx context.Context, method, url, body string) (string, error) {
	return h.roundTrip(ctx, nil, method, url, body)
}

// requestTLS is a GET with TLS.
func (h *host) requestTLS(ctx context.Context, callers *tls.Config, url string) (string, error) {
	return h.roundTrip(ctx, callers, http.MethodGet, url, "")
}

func (h *host) roundTrip(ctx context.Context, callers *tls.Config, method, url, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime) // it may be paused
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: callers,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return h.enter(ctx, address) },
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}
