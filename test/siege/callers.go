package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// What the well-behaved callers do.
const (
	// callsPerSecond are shared by calls of gRPC and requests for JSON, over so many connections of each.
	callsPerSecond  = 200
	goodConnections = 4
	// Each of so many calls is made on a connection of its own, by gRPC or for JSON in turn.
	freshEvery = 20
	watchers   = 8
	// callTime is how long a call may take. A longer one has failed.
	callTime = 5 * time.Second
)

// callers are well-behaved, and of another identity than the attacker. They call at a fixed rate, whether or not answers come (an open
// loop), so that a broker that is slow does not get less to do.
type callers struct {
	target target
	conns  []*grpc.ClientConn
	hangUp func()
	client *http.Client

	mu       sync.Mutex
	failures []string // of all time, the watchers' included
}

// sample is what the callers saw in one round. Latencies are those of answers on connections that were open, and of answers that took a
// connection of their own.
type sample struct{ open, fresh []time.Duration }

func newCallers(t target) (*callers, error) {
	c := &callers{target: t}
	var err error
	if c.client, err = t.http(goodConnections); err != nil {
		return nil, err
	}
	c.conns, c.hangUp, err = t.several(goodConnections)
	return c, err
}

func (c *callers) close() {
	c.hangUp()
	c.client.CloseIdleConnections()
}

// watch holds streams open until ctx ends, and reads them. One that ends before is a failure.
func (c *callers) watch(ctx context.Context) {
	var watching sync.WaitGroup
	for i := range watchers {
		watching.Go(func() {
			stream, err := tokenbrokerv1.NewTokenBrokerServiceClient(c.conns[i%len(c.conns)]).WatchToken(ctx,
				&tokenbrokerv1.WatchTokenRequest{Name: c.target.Moving})
			for err == nil {
				_, err = stream.Recv()
			}
			if ctx.Err() == nil {
				c.fail("watching", err)
			}
		})
	}
	watching.Wait()
}

// measure calls for so long, and returns when the last call has ended.
func (c *callers) measure(ctx context.Context, d time.Duration) sample {
	var (
		mu      sync.Mutex
		got     sample
		calling sync.WaitGroup
	)
	begin := time.Now()
	for i := 0; ; i++ {
		due := time.Duration(i) * time.Second / callsPerSecond
		if due >= d || !pause(ctx, due-time.Since(begin)) {
			break
		}
		calling.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, callTime)
			defer cancel()
			sent := time.Now()
			fresh := i%freshEvery == 0
			err := c.call(ctx, i, fresh)
			took := time.Since(sent)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				c.fail("calling", err)
			case fresh:
				got.fresh = append(got.fresh, took)
			default:
				got.open = append(got.open, took)
			}
		})
	}
	calling.Wait()
	return got
}

// call makes one call: of gRPC or for JSON in turn.
func (c *callers) call(ctx context.Context, number int, fresh bool) error {
	json := number%2 == 1
	if fresh {
		json = number/freshEvery%2 == 1
	}
	switch {
	case json && fresh:
		client, err := c.target.http(1)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		return c.ask(ctx, client)
	case json:
		return c.ask(ctx, c.client)
	case fresh:
		conn, err := c.target.grpc()
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return c.target.getToken(ctx, conn)
	default:
		return c.target.getToken(ctx, c.conns[number/2%len(c.conns)])
	}
}

// ask asks for a token as JSON.
func (c *callers) ask(ctx context.Context, client *http.Client) error {
	resp, err := client.Do(get(c.target.way, "/v1/tokens/"+c.target.Still).WithContext(ctx))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

func (c *callers) fail(doing string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf("%s: %s: %v", time.Now().Format(time.TimeOnly), doing, err))
}

func (c *callers) failed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.failures...)
}
