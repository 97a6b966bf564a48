package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

const (
	// MaxAnswerSize bounds an answer's body, and its header, in bytes.
	MaxAnswerSize = 64 << 10
	// MaxRequestSize bounds URL and body together, in bytes, so that the whole request fits one TLS record and one write.
	MaxRequestSize = 14 << 10

	oneRecord     = 16 << 10
	longestRemark = 24 * time.Hour // of a Retry-After header; beyond that it is a mistake
)

// Config says how to reach an upstream. Zero values work.
type Config struct {
	// DialTimeout bounds name resolution and connecting; default 2.5 s.
	DialTimeout time.Duration
	// TLSTimeout bounds each TLS handshake; default 2 s. It and DialTimeout together bound all that comes before the request, a
	// proxy's CONNECT included, and should stay below the 5 s within which a request must be written after its intent.
	TLSTimeout time.Duration
	// Timeout bounds the whole attempt, from dialling to the answer's last byte; default 10 s. The caller's context may end it
	// earlier.
	Timeout time.Duration
	// RootCAs are the authorities to trust; nil for the system's.
	RootCAs *x509.CertPool
	// Dial connects; nil for an ordinary net.Dialer. Its connections must support deadlines, their Writes report truthfully how many
	// bytes were taken, and their Close end a Write.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy chooses a proxy; nil for http.ProxyFromEnvironment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent is what the requests call themselves; default "tokenbroker".
	UserAgent string
}

// Client makes one-shot requests. It holds no connection and no goroutine between them, and is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a Client. Negative times are errors.
func New(cfg Config) (*Client, error) {
	if cfg.DialTimeout < 0 || cfg.TLSTimeout < 0 || cfg.Timeout < 0 {
		return nil, errors.New("the time-outs of an upstream must not be negative")
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 2500 * time.Millisecond
	}
	if cfg.TLSTimeout == 0 {
		cfg.TLSTimeout = 2 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "tokenbroker"
	}
	return &Client{cfg}, nil
}

// Request is one request.
type Request struct {
	Method string
	// URL is absolute, http or https. It may contain secrets.
	URL string
	// Body may be nil; if not, ContentType describes it.
	Body        []byte
	ContentType string
	// Secrets are taken out of every message that comes of this request.
	Secrets []token.Secret
	// BeforeWrite and AfterWrite are those of token.FetchRequest; both may be nil. They are called under a lock, on a goroutine of
	// the transport, and must not block. AfterWrite is called exactly if a byte was written, always before Do returns.
	BeforeWrite func() error
	AfterWrite  func()
}

// Answer is an answer that was read whole.
type Answer struct {
	Status int
	Body   []byte
	// RetryAfter is the header of that name, if it gives seconds; at most a day.
	RetryAfter time.Duration
}

// Do makes one request on a fresh connection; see the package's documentation for what that promises. It returns the answer whatever
// its status, or an error that is always a *token.Failure. It blocks until the answer's last byte, the end of ctx, or Config.Timeout.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	answer, failure := c.attempt(ctx, r)
	if failure != nil {
		failure.Message = Scrub(failure.Message, r.Secrets...)
		return Answer{}, failure
	}
	return answer, nil
}

func (c *Client) attempt(given context.Context, r Request) (Answer, *token.Failure) {
	if len(r.URL)+len(r.Body) > MaxRequestSize {
		return Answer{}, unasked(token.Bug, "request", "the request is too long to be written at once", "")
	}
	ctx, cancel := context.WithTimeout(given, c.cfg.Timeout)
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return Answer{}, unasked(token.Bug, "request", "the request could not be put together", "Check the base URL.")
	}
	proxy, err := c.cfg.Proxy(req)
	if err != nil {
		// The error quotes the address, which may hold a password.
		return Answer{}, unasked(token.Human, "proxy", "the proxy's address makes no sense", "Check HTTPS_PROXY and HTTP_PROXY.")
	}
	g := newGate(r.BeforeWrite, r.AfterWrite, proxy != nil)
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart:    func() { g.reach(securing) },
		GotConn:              func(httptrace.GotConnInfo) { g.reach(armed) },
		GotFirstResponseByte: g.firstByte,
	}))
	answer, tooLong, err := exchange(c.transport(ctx, g, proxy), req)
	v := g.finish()
	switch {
	case !v.written:
		return Answer{}, unwritten(given, v, err)
	case tooLong:
		return Answer{}, tooLarge()
	case err != nil:
		return Answer{}, unanswered(ctx, v, err)
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	// A nil *bytes.Reader in the interface would not be a nil body.
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept", "application/json")
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	return req, nil
}

// transport returns the transport of one attempt. It dials under the attempt's own context: net/http would let a dial outlive it.
func (c *Client) transport(ctx context.Context, g *gate, proxy *url.URL) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyURL(proxy),
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, g, network, address)
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.cfg.RootCAs, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
		TLSHandshakeTimeout:    c.cfg.TLSTimeout,
		Protocols:              protocols,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxAnswerSize,
		WriteBufferSize:        oneRecord,
	}
}

func (c *Client) dial(ctx context.Context, g *gate, network, address string) (net.Conn, error) {
	if err := g.dial(); err != nil {
		return nil, err
	}
	ready := time.Now().Add(c.cfg.DialTimeout + c.cfg.TLSTimeout)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	conn, err := c.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return g.adopt(conn, ready)
}

func exchange(transport *http.Transport, req *http.Request) (answer Answer, tooLong bool, err error) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Answer{}, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswerSize+1))
	if err != nil {
		return Answer{}, false, err
	}
	answer = Answer{Status: resp.StatusCode, Body: body, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	return answer, len(body) > MaxAnswerSize, nil
}

func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseInt(header, 10, 32)
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestRemark)
}
