package dialogues_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what came back.
type answer struct {
	status      int
	contentType string
	body        string
}

// wire is one connection to the broker, which lives on as SDKs' connections do.
type wire struct {
	conn net.Conn
	from *bufio.Reader
	host string
}

func dial(t *testing.T, url string) *wire {
	t.Helper()
	host := strings.TrimPrefix(url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{conn, bufio.NewReader(conn), host}
}

// say sends a request as it stands, and reads one answer.
func (w *wire) say(t *testing.T, request string) answer {
	t.Helper()
	if err := w.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w.conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" {
		t.Fatalf("the answer is encoded as %s", encoding)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(body)}
}

// asked is what a dialogue asks for.
type asked struct {
	host, appid, secret string
	force               bool
}

// lines joins the header lines of a request, and its body.
func lines(body string, header ...string) string {
	return strings.Join(header, "\r\n") + "\r\n\r\n" + body
}

// post is lines with a body whose length is told.
func post(body string, header ...string) string {
	return lines(body, append(header, fmt.Sprintf("Content-Length: %d", len(body)))...)
}
