package audit_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
)

func TestLineTellsWhoDidWhatWithWhichVersionAndWhatWasDecided(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	k := keep(t, audit.Config{File: file})
	before := time.Now().Truncate(time.Microsecond)
	if err := k.Append(audit.Record{
		Phase: audit.Done, Who: []access.Identity{"dns:shop.example", "jwt:k8s:shop"}, Method: "/x/GetToken", Verb: access.Get, Token: "shop",
		Version: 7, Allowed: true, Rule: "policy[2]", Code: "OK", Peer: "10.0.0.7:4711", Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
	}); err != nil {
		t.Fatal(err)
	}
	if err := k.Append(audit.Record{Phase: audit.Done, Code: "Unauthenticated"}); err != nil {
		t.Fatal(err)
	}
	got := lines(t, file)
	for _, record := range got {
		at, err := time.Parse(time.RFC3339Nano, record["time"].(string))
		if err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("time is %v", record["time"])
		}
		delete(record, "time")
	}
	if diff := cmp.Diff([]map[string]any{
		{
			"replica": "a", "phase": "done", "who": []any{"dns:shop.example", "jwt:k8s:shop"}, "method": "/x/GetToken", "verb": "get", "token": "shop",
			"version": 7.0, "decision": "allow", "rule": "policy[2]", "code": "OK", "peer": "10.0.0.7:4711", "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
		},
		{"replica": "a", "phase": "done", "who": []any{}, "decision": "deny", "code": "Unauthenticated"},
	}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestLongNamesThatDifferAtTheirEndsStayTwo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	k := keep(t, audit.Config{File: file})
	long := access.Identity("spiffe://example.org/" + strings.Repeat("x", 2000))
	for _, end := range []access.Identity{"a", "b"} {
		if err := k.Append(audit.Record{Who: []access.Identity{long + end}}); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(t, file)
	a, b := got[0]["who"].([]any)[0].(string), got[1]["who"].([]any)[0].(string)
	if a == b || len(a) > 300 || !strings.HasPrefix(a, "spiffe://example.org/xxx") {
		t.Errorf("written as %q and %q", a, b)
	}
}

// plain is what a line may consist of.
var plain = regexp.MustCompile(`^[\x20-\x7e]+\n$`)

// FuzzLine: whatever callers put into what is recorded, it is one line of JSON that says it, or its beginning.
func FuzzLine(f *testing.F) {
	for _, text := range []string{
		"shop", "", "a\nb", `"}` + "\n" + `{"decision":"allow"}`, "\x1b[2J\u202e", "\xff\xfe", "\U0001f511", "\u2028", strings.Repeat("\x00", 5000), strings.Repeat("\u4e2d", 60) + "\xff",
	} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, many int) {
		var who []access.Identity
		for range uint(many) % 100 {
			who = append(who, access.Identity(text))
		}
		var out logtest.Buffer
		k := keep(t, audit.Config{Out: &out})
		if err := k.Append(audit.Record{
			Phase: audit.Phase(text), Who: who, Method: text, Verb: access.Verb(text), Token: text, Version: 1 << 62, Rule: text, Code: text, Peer: text,
			Trace: audit.TraceID(text),
		}); err != nil {
			t.Fatal(err)
		}
		line := out.String()
		if len(line) > audit.MaxLine || !plain.MatchString(line) {
			t.Fatalf("%d bytes: %q", len(line), line)
		}
		got := parse(t, []byte(line))
		if len(got) != 1 || got[0]["decision"] != "deny" {
			t.Fatalf("records %v", got)
		}
		valid := strings.ToValidUTF8(text, "")
		if written, _ := got[0]["token"].(string); valid == text && written != text {
			head, _, cut := strings.Cut(written, "...sha256:")
			if !cut || !strings.HasPrefix(text, head) {
				t.Errorf("%q was written as %q", text, written)
			}
		}
	})
}

var traceparent = regexp.MustCompile(`^(?:00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}|[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-(?s:.*))?)$`)

// FuzzTraceparent compares with the definition: version, trace id, parent id, flags.
func FuzzTraceparent(f *testing.F) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, text := range []string{
		good, "", good + "-x", "01" + good[2:] + "-x", "01" + good[2:] + "x", "ff" + good[2:], strings.ToUpper(good), strings.Replace(good, "00f067aa0ba902b7", "0000000000000000", 1),
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01", good[:54], strings.ReplaceAll(good, "-", "_"), "00-" + strings.Repeat("\n", 32) + good[35:],
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := ""
		if m := traceparent.FindStringSubmatch(text); m != nil && text[:2] != "ff" && (text[:2] != "00" || len(text) == 55) {
			if id := m[1] + m[3]; strings.Trim(id, "0") != "" && strings.Trim(m[2]+m[4], "0") != "" {
				want = id
			}
		}
		if got := audit.TraceID(text); got != want {
			t.Errorf("TraceID(%q) is %q, want %q", text, got, want)
		}
	})
}
