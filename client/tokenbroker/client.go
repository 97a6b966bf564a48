package tokenbroker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Client holds tokens. It is safe for concurrent use, and meant to live as long as the process.
type Client struct {
	cfg   config
	conn  *grpc.ClientConn
	api   tokenbrokerv1.TokenBrokerServiceClient
	clock *clock

	life      context.Context // ends with Close
	end       context.CancelFunc
	followers atomic.Pointer[map[string]*follower] // the map is never changed, only replaced
	streams   chan struct{}                        // holds one for each open stream

	mu      sync.Mutex // held while followers is replaced or closed is set
	closed  bool
	running sync.WaitGroup // Add only while mu is held and closed is false
}

// New returns a client of the brokers at target: one host:port, several with commas in between, or anything that gRPC can resolve, such as
// dns:///broker.example.com:7700. Name all replicas, or a name that stands for all.
//
// New connects to nobody, unless WithTokens names tokens to wait for: then ctx says how long. When it fails nothing is left running.
func New(ctx context.Context, target string, options ...Option) (*Client, error) {
	cfg := newConfig(options)
	conn, err := dial(target, cfg)
	if err != nil {
		return nil, fmt.Errorf("tokenbroker: %w", err)
	}
	c := &Client{cfg: cfg, conn: conn, api: tokenbrokerv1.NewTokenBrokerServiceClient(conn), clock: newClock(), streams: make(chan struct{}, maxStreams)}
	// What the client does in the background ends with Close. ctx lends it its values, for interceptors, and not its end.
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	c.followers.Store(&map[string]*follower{})
	if err := c.await(ctx, cfg.names); err != nil {
		_ = c.Close() // never fails
		return nil, err
	}
	return c, nil
}

// await waits until every one of these tokens is there.
func (c *Client) await(ctx context.Context, names []string) error {
	for _, name := range names { // all at once
		if _, err := c.follow(name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := c.Token(ctx, name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Close ends everything that the client does, and returns when its goroutines are gone. Tokens that were handed out stay readable. It
// always returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	_ = c.conn.Close() // fails if it was closed before
	c.running.Wait()
	for _, f := range *c.followers.Load() {
		f.drop()
	}
	return nil
}

// Token returns the token of that name. The first call for a name starts to follow it, and waits for the first token within ctx; from then
// on the answer comes from memory. It waits again only when nothing is left that could be handed out; not, however, once the broker has
// said that there is no living token: that comes back as an *Error with the time after which to try again.
//
// The token is Suspect if nothing better is to be had: see WithMinLife.
func (c *Client) Token(ctx context.Context, name string) (Token, error) {
	if f := (*c.followers.Load())[name]; f != nil {
		if h := f.held.Load(); h != nil && c.clock.now() < h.usable {
			return Token{h}, nil
		}
	}
	f, err := c.follow(name)
	if err != nil {
		return Token{}, err
	}
	return f.wait(ctx)
}

// Invalid tells the broker that the upstream refused a token before its end (WeChat: errcode 40001, 40014 or 42001 of a business call), and
// returns the token to use from now on, as soon as there is one. The refused version is handed out no more, to nobody, unless the
// upstream tells the broker that it lives: then it is returned again.
//
// However many callers report a version, the broker is told once at a time, and all get the same answer. A report outlives its caller: the
// client repeats it until it is settled. If the version has been replaced already the answer comes from memory.
func (c *Client) Invalid(ctx context.Context, refused Token) (Token, error) {
	if refused.IsZero() {
		return Token{}, fmt.Errorf("tokenbroker: reporting a token as invalid: there is no token")
	}
	f, err := c.follow(refused.Name())
	if err != nil {
		return Token{}, err
	}
	return f.invalid(ctx, refused)
}

// Names returns the names of the tokens that the client follows, sorted.
func (c *Client) Names() []string { return slices.Sorted(maps.Keys(*c.followers.Load())) }

// List asks a broker for all tokens that the caller may know of, sorted by name. They have no values, and a version of 0 if there was never
// a token. Nothing is started or kept. It does not wait for brokers to come back: while none can be reached it fails at once.
func (c *Client) List(ctx context.Context) ([]Token, error) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	sent := c.clock.look()
	resp, err := c.api.ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{}, grpc.WaitForReady(false))
	if c.life.Err() != nil {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	tokens := make([]Token, 0, len(resp.GetTokens()))
	for _, t := range resp.GetTokens() {
		tokens = append(tokens, Token{newHeld(c.clock, c.cfg.minLife, sent, t)})
	}
	return tokens, nil
}

// follow returns the follower of a name. If there is none it starts one.
func (c *Client) follow(name string) (*follower, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	old := *c.followers.Load()
	if f := old[name]; f != nil {
		return f, nil
	}
	f := newFollower(c, name)
	next := maps.Clone(old)
	next[name] = f
	c.followers.Store(&next)
	c.running.Go(func() { f.run(c.life) })
	return f, nil
}

// start runs a function in a goroutine that Close waits for. It reports false if the client is closed.
func (c *Client) start(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(run)
	}
	return !c.closed
}

// forget takes out a follower that has ended. A name that does not exist must not cost memory for ever.
func (c *Client) forget(f *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(*c.followers.Load())
	delete(next, f.name)
	c.followers.Store(&next)
}

// patience bounds a wait without a deadline.
func (c *Client) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.patience)
}
