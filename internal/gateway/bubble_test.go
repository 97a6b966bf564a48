package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// fakeLife is what a fakeConn promises of each token.
const fakeLife = 15 * time.Second

// fakeConn is a gRPC connection in the hands of the test.
type fakeConn struct {
	// deadline is how much time the last call had; 0 if it had no deadline.
	deadline time.Duration
	// every is how often a stream brings a message of 4 KB, and last the version after which it brings no more; 0 for never.
	every time.Duration
	last  int64
	// ended is closed when the stream has ended.
	ended chan struct{}
	// call answers the calls; nil answers at once.
	call func(ctx context.Context, req any) error
}

func (c *fakeConn) Invoke(ctx context.Context, _ string, req, _ any, _ ...grpc.CallOption) error {
	if c.call != nil {
		return c.call(ctx, req)
	}
	c.deadline = 0
	if at, ok := ctx.Deadline(); ok {
		c.deadline = time.Until(at)
	}
	return nil
}

func (c *fakeConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	context.AfterFunc(ctx, func() { close(c.ended) })
	return &fakeStream{ctx: ctx, every: c.every, last: c.last}, nil
}

type fakeStream struct {
	ctx     context.Context
	every   time.Duration
	version int64
	last    int64
}

func (s *fakeStream) Header() (metadata.MD, error) { return nil, nil }
func (s *fakeStream) Trailer() metadata.MD         { return nil }
func (s *fakeStream) CloseSend() error             { return nil }
func (s *fakeStream) Context() context.Context     { return s.ctx }
func (s *fakeStream) SendMsg(any) error            { return nil }
func (s *fakeStream) RecvMsg(m any) error {
	var tick <-chan time.Time
	if s.every > 0 && (s.last == 0 || s.version < s.last) {
		tick = time.After(s.every)
	}
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-tick:
		s.version++
		proto.Merge(m.(proto.Message), &tokenbrokerv1.WatchTokenResponse{Token: &tokenbrokerv1.Token{
			Version: s.version, AccessToken: strings.Repeat("x", 4096), State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE,
			Ttl: durationpb.New(fakeLife),
		}})
		return nil
	}
}

// inBubble runs a gateway before a fake connection where time is the test's. dial connects to it; a connection holds 1 KB.
func inBubble(t *testing.T, conn *fakeConn, test func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		conn.ended = make(chan struct{})
		g, err := gateway.New(gateway.Config{Conn: conn})
		if err != nil {
			t.Fatal(err)
		}
		listener := bufconn.Listen(1 << 10)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = g.Run(ctx, listener) })
		test(t, func() net.Conn {
			c, err := listener.Dial()
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
		stop()
		running.Wait()
	})
}

func send(t *testing.T, conn net.Conn, request string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
}

// watch is a request for a stream of events.
const watch = "GET /v1/tokens/a:watch HTTP/1.1\r\nHost: x\r\n\r\n"

// hungUp is the body of an answer that is closed with its connection, and after it: closing a body reads it to its end, and a stream has none.
type hungUp struct {
	io.ReadCloser
	conn net.Conn
}

func (b hungUp) Close() error { return errors.Join(b.conn.Close(), b.ReadCloser.Close()) }

// ask sends a request on a connection that is for nothing else.
func ask(t *testing.T, conn net.Conn, request string) *http.Response {
	t.Helper()
	send(t, conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		_ = conn.Close()
		t.Fatal(err)
	}
	resp.Body = hungUp{resp.Body, conn}
	return resp
}

func TestStreamWithoutEventsHasAHeartbeat(t *testing.T) {
	inBubble(t, &fakeConn{}, func(t *testing.T, dial func() net.Conn) {
		resp := ask(t, dial(), watch)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		begin := time.Now()
		var beats []time.Duration
		for len(beats) < 8 && lines.Scan() {
			if strings.HasPrefix(lines.Text(), ":") {
				beats = append(beats, time.Since(begin))
			}
		}
		for i, at := range beats {
			if want := time.Duration(i+1) * 15 * time.Second; at != want {
				t.Errorf("heartbeat %d came after %v", i+1, at)
			}
		}
	})
}

func TestReaderWhoTakesNothingIsCutOff(t *testing.T) {
	fake := &fakeConn{every: time.Second}
	inBubble(t, fake, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		defer conn.Close()
		begin := time.Now()
		send(t, conn, watch)
		<-fake.ended
		if took := time.Since(begin); took < 30*time.Second || took > 35*time.Second {
			t.Errorf("the reader was cut off after %v", took)
		}
	})
}

func TestAnEventPromisesNoMoreThanIsLeftWhenItIsSent(t *testing.T) {
	for pause, state := range map[time.Duration]string{10 * time.Second: "ACTIVE", 20 * time.Second: "SUSPECT"} {
		inBubble(t, &fakeConn{every: time.Second, last: 3}, func(t *testing.T, dial func() net.Conn) {
			began := time.Now()
			resp := ask(t, dial(), watch)
			defer resp.Body.Close()
			time.Sleep(pause) // the first event does not fit into the connection, and the last comes while it is being sent
			e := readEvents(t, resp.Body)
			e.want("token", "1")
			m := e.want("token", "3")
			left, err := time.ParseDuration(at(m, "token", "ttl").(string))
			if most := max(time.Until(began.Add(3*time.Second+fakeLife)), 0); err != nil || left > most || at(m, "token", "state") != "TOKEN_STATE_"+state {
				t.Errorf("after %v the event says %v, and %v is left: %v", pause, at(m, "token", "ttl"), most, err)
			}
		})
	}
}

func TestStreamOutlivesEveryLimitOfAnAnswer(t *testing.T) {
	inBubble(t, &fakeConn{every: time.Minute}, func(t *testing.T, dial func() net.Conn) {
		begin := time.Now()
		resp := ask(t, dial(), watch)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if lines.Text() == "id: 60" {
				break
			}
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("the sixtieth event came after %v", took)
		}
	})
}

func TestBodyThatDoesNotArriveIsNotWaitedFor(t *testing.T) {
	inBubble(t, &fakeConn{}, func(t *testing.T, dial func() net.Conn) {
		begin := time.Now()
		resp := ask(t, dial(), "POST /v1/tokens/a:reportInvalid HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		defer resp.Body.Close()
		if took := time.Since(begin); resp.StatusCode != http.StatusBadRequest || took != 10*time.Second {
			t.Errorf("%d after %v", resp.StatusCode, took)
		}
	})
}

func TestEveryCallHasADeadline(t *testing.T) {
	fake := &fakeConn{}
	inBubble(t, fake, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for header, want := range map[string]time.Duration{
			"":                            30 * time.Second,
			"Grpc-Timeout: 5S\r\n":        5 * time.Second,
			"Grpc-Timeout: 250m\r\n":      250 * time.Millisecond,
			"Grpc-Timeout: 45S\r\n":       45 * time.Second,
			"Grpc-Timeout: 99999999H\r\n": time.Minute,
		} {
			send(t, conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\n"+header+"\r\n")
			resp, err := http.ReadResponse(answers, nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if fake.deadline != want {
				t.Errorf("with %q a call has %v", header, fake.deadline)
			}
		}
	})
}
