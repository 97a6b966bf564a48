package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// event is one server-sent event.
type event struct{ id, kind, data string }

// eventStream reads events.
type eventStream struct {
	tb    testing.TB
	body  io.ReadCloser
	lines *bufio.Scanner
}

// watch opens a stream that must be there.
func (s *site) watch(name string, headers ...string) *eventStream {
	s.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.tb.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/tokens/"+name+":watch", nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		s.tb.Fatalf("%d, %v", resp.StatusCode, resp.Header)
	}
	return readEvents(s.tb, resp.Body)
}

func readEvents(tb testing.TB, body io.ReadCloser) *eventStream {
	tb.Helper()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	return &eventStream{tb, body, lines}
}

// next returns the next event; false at the end.
func (e *eventStream) next() (event, bool) {
	var got event
	for e.lines.Scan() {
		field, text, _ := strings.Cut(e.lines.Text(), ": ")
		switch field {
		case "id":
			got.id = text
		case "event":
			got.kind = text
		case "data":
			got.data = text
		case "":
			if got.kind != "" {
				return got, true
			}
		case "retry":
		default:
			e.tb.Errorf("a line of the stream is %q", e.lines.Text())
		}
	}
	return got, false
}

// want checks the next event's kind and version, and returns its data.
func (e *eventStream) want(kind, id string) any {
	e.tb.Helper()
	got, ok := e.next()
	if !ok || got.kind != kind || got.id != id {
		e.tb.Fatalf("got %+v, %v, want %s %s", got, ok, kind, id)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(got.data), &m); err != nil {
		e.tb.Fatalf("%v: %s", err, got.data)
	}
	return m
}

func TestWatchTellsEachChange(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, last := range []string{"", "1", "999", "nonsense"} { // a stream begins with what is true, whatever was seen before
		e := s.watch(stable, "Last-Event-ID", last)
		m := e.want("token", "1")
		if at(m, "token", "accessToken") != value(stable, 1) || at(m, "token", "state") != "TOKEN_STATE_ACTIVE" || at(m, "token", "appId") != appid {
			t.Errorf("got %v", m)
		}
	}
	e := s.watch(stable)
	e.want("token", "1")
	s.commit(stable, time.Hour)
	if m := e.want("token", "2"); at(m, "token", "accessToken") != value(stable, 2) {
		t.Errorf("got %v", m)
	}
	s.write(stable, func(rec *token.Record) { rec.Condemned = true })
	if m := e.want("expired", "2"); at(m, "token", "accessToken") != "" || at(m, "token", "state") != "TOKEN_STATE_EXPIRED" {
		t.Errorf("got %v", m)
	}
	s.commit(stable, time.Hour)
	e.want("token", "3")
}

func TestWatchOfATokenThatWasNeverFetchedOpensAndWaits(t *testing.T) {
	s := newSite(t)
	e := s.watch(stable)
	s.commit(stable, time.Hour)
	e.want("token", "1")
}

func TestWatchEndsWithTheReason(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	e := s.watch(stable)
	e.want("token", "1")
	if err := s.view.Configure(specs()[1:]); err != nil {
		t.Fatal(err)
	}
	if m := e.want("end", ""); at(m, "code") != 5.0 {
		t.Errorf("got %v", m)
	}
	if got, more := e.next(); more {
		t.Errorf("after the end came %+v", got)
	}
}

func TestDrainEndsWatchesWholeAndAtOnce(t *testing.T) {
	for name, drain := range map[string]func(*site){
		"the gRPC server": func(s *site) { s.stopServer() },
		"the gateway":     func(s *site) { s.stopGateway() },
		"both":            func(s *site) { s.stopServer(); s.stopGateway() },
	} {
		s := newSite(t)
		s.commit(stable, time.Hour)
		streams := []*eventStream{s.watch(stable), s.watch(stable), s.watch(classic)}
		for _, e := range streams[:2] {
			e.want("token", "1")
		}
		begin := time.Now()
		drain(s)
		for _, e := range streams {
			if m := e.want("end", ""); at(m, "code") != 14.0 {
				t.Errorf("%s drains: got %v", name, m)
			}
			if err := e.lines.Err(); e.lines.Scan() || err != nil {
				t.Errorf("%s drains: the answer is not whole: %v", name, err)
			}
		}
		if took := time.Since(begin); took > server.DefaultDrainTimeout/2 {
			t.Errorf("%s took %v to drain", name, took)
		}
	}
}

func TestRunReturnsWhenEverythingHasEnded(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	e := s.watch(stable)
	e.want("token", "1")
	waiting := make(chan error, 1)
	go func() {
		_, err := s.try(http.MethodGet, "/v1/tokens/"+lonely+"?min_ttl=1s", "")
		waiting <- err
	}()
	s.stopServer()
	s.stopGateway()
	if err := <-s.gatewayEnded; err != nil {
		t.Errorf("Run returned %v", err)
	}
	<-waiting
	if _, err := s.try(http.MethodGet, "/v1/tokens", ""); err == nil {
		t.Error("the listener is still open")
	}
}

// narrow gives connections small buffers.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if c, ok := conn.(*net.TCPConn); ok {
		err = c.SetWriteBuffer(4 << 10)
	}
	return conn, err
}

func TestSlowReaderGetsTheNewestAndNothingIsQueuedForIt(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.gateway.Run(ctx, narrow{outer}) }()
	conn, err := net.Dial("tcp", outer.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	resp := ask(t, conn, "GET /v1/tokens/"+stable+":watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
	defer resp.Body.Close()
	slow, quick := readEvents(t, resp.Body), s.watch(stable)
	slow.want("token", "1")
	quick.want("token", "1")
	big := token.NewSecret(strings.Repeat("x", token.MaxValueSize))
	const last = 500 // 2 MB
	for version := int64(2); version <= last; version++ {
		s.write(stable, func(rec *token.Record) {
			rec.Version, rec.Value, rec.IssuedAt, rec.Life = version, big, s.clock.Wall(), time.Hour+view.DefaultSkew
		})
		if _, ok := quick.next(); !ok {
			t.Fatal("the quick reader's stream ended")
		}
	}
	var received int
	for {
		got, ok := slow.next()
		if !ok {
			t.Fatal("the slow reader's stream ended")
		}
		received++
		if got.id == "500" {
			break
		}
	}
	// The connection itself holds a dozen. With the buffers of the gRPC stream behind it there would be half a hundred.
	if received > 30 {
		t.Errorf("%d of %d versions were kept for a slow reader", received, last)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWatchesAreBoundedAndTheirPlacesAreGivenBack(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	const most = 384 // of one address
	streams := make([]*eventStream, most)
	for i := range streams {
		streams[i] = s.watch(stable)
		streams[i].want("token", "1")
	}
	r := s.do(http.MethodGet, "/v1/tokens/"+stable+":watch", "")
	if m := r.json(t, http.StatusTooManyRequests); r.Header.Get("Retry-After") != "5" || at(m, "code") != json.Number("8") {
		t.Errorf("one more is answered %v, %s", r.Header, r.body)
	}
	if m := s.get("/v1/tokens/"+stable, http.StatusOK); at(m, "token", "version") != "1" {
		t.Errorf("beside the watches, a request is answered %v", m)
	}
	if got := s.sample("tokenbroker_gateway_watches"); got != most {
		t.Errorf("%v watches are told of", got)
	}
	for _, e := range streams {
		_ = e.body.Close()
	}
	for s.sample("tokenbroker_gateway_watches") != 0 { // until the gateway has noticed that they are gone
		runtime.Gosched()
	}
	s.watch(stable).want("token", "1")
}
