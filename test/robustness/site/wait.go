package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// startTime bounds the start of a site, and healTime what Heal waits for: a loaded machine is slow.
	startTime = time.Minute
	healTime  = time.Minute
	// stopTime bounds a broker's shutdown where a site is closed: a fetch in flight is settled, or given up after 20 s where etcd is
	// away. signalTime is what a process may take to heed a signal that asks nothing of it but to stop.
	stopTime   = 45 * time.Second
	signalTime = 5 * time.Second
	// attemptTime bounds one try of what is tried again, and retryPace is how long after the last the next one follows.
	attemptTime = 2 * time.Second
	retryPace   = 20 * time.Millisecond
)

// finalError is one that no further try will mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// eventually tries something until it succeeds, fails for good, or ctx ends. Each try has a deadline.
func eventually(ctx context.Context, try func(context.Context) error) error {
	for {
		tctx, cancel := context.WithTimeout(ctx, attemptTime)
		err := try(tctx)
		cancel()
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[finalError](err); ok {
			return final.error
		}
		select {
		case <-time.After(retryPace):
		case <-ctx.Done():
			return fmt.Errorf("%w; at last: %w", context.Cause(ctx), err)
		}
	}
}

// probe returns nil if a page can be had.
func probe(ctx context.Context, url string) error {
	_, err := request(ctx, http.MethodGet, url, "")
	return err
}

// request makes one HTTP request to a process, and returns what it answered, or an error unless that was a success.
func request(ctx context.Context, method, url, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime) // it may be paused
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
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

// freeAddress returns a loopback address that nobody listens on. Its port lies below the range from which systems take ports for
// outgoing connections, so that it is still free when a process comes back. It is not drawn from the run's seed, which would draw the same
// for two runs at once.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(22000))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address, nil
		}
	}
	return "", errors.New("finding a free port: there is none")
}
