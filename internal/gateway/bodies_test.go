package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// slow sends the head of a request and no body, and returns the code of what comes: 100 if the gateway waits for the body.
func (s *site) slow(t *testing.T, from, path string) (code int, header http.Header, body string) {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestBodiesThatDoNotComeAreAwaitedForSoManyOfEachAddress(t *testing.T) {
	s := newSite(t)
	const each = 512
	for i := range each {
		if code, _, body := s.slow(t, "127.0.0.1", "/cgi-bin/stable_token"); code != http.StatusContinue {
			t.Fatalf("body %d is not awaited: %d %s", i+1, code, body)
		}
	}
	if code, header, body := s.slow(t, "127.0.0.1", "/v1/tokens/"+stable+":reportInvalid"); code != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("one body more is answered %d %s, %v", code, body, header)
	}
	if code, _, body := s.slow(t, "127.0.0.1", "/cgi-bin/stable_token"); code != http.StatusOK || !strings.Contains(body, "45011") {
		t.Errorf("one body more is not answered as WeChat does: %d %s", code, body)
	}
	if code, _, body := s.slow(t, "127.0.0.2", "/cgi-bin/stable_token"); code != http.StatusContinue {
		t.Errorf("the body of another address is not awaited: %d %s", code, body)
	}
	s.get("/v1/tokens", http.StatusOK) // there is no body to wait for
}
