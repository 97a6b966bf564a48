package e2e_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// pieceSize is the length of the pieces of a value that must not be seen either: somebody may have shortened it for a log. What the
// command line shows of a token to tell it from others is shorter.
const pieceSize = 16

// forms are the spellings in which a value, or its beginning or end, could have got into a text.
func forms(value string) []string {
	seen := map[string]bool{}
	for _, part := range []string{value, value[:min(len(value), pieceSize)], value[max(0, len(value)-pieceSize):]} {
		quoted, _ := json.Marshal(part) // strings can always be marshalled
		for _, form := range []string{
			part, url.QueryEscape(part), url.PathEscape(part), html.EscapeString(part), strings.Trim(strconv.Quote(part), `"`),
			strings.Trim(string(quoted), `"`), hex.EncodeToString([]byte(part)), fmt.Sprintf("%X", part), decimal(part),
		} {
			seen[form] = true
		}
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			// Within a longer text that is encoded as a whole a value can begin at any of three places. What the neighbours decide is cut off.
			for shift := range 3 {
				encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + part))
				seen[encoded[(shift*8+5)/6:(shift+len(part))*8/6]] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// decimal is how fmt prints bytes.
func decimal(text string) string {
	return strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]")
}

// evidence is everything that was written, by where it was found. It is safe for concurrent use.
type evidence struct {
	mu    sync.Mutex
	texts map[string]*strings.Builder
}

func newEvidence() *evidence { return &evidence{texts: map[string]*strings.Builder{}} }

// add keeps a text.
func (e *evidence) add(where, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.texts[where] == nil {
		e.texts[where] = new(strings.Builder)
	}
	e.texts[where].WriteString(text + "\n")
}

// process keeps what a process has written so far.
func (e *evidence) process(where string, p *process) {
	e.add(where+", standard output", p.out.String())
	e.add(where+", standard error", p.err.String())
}

// gaps are what is left free in files: etcd's are of 64 MB from the start.
var gaps = regexp.MustCompile("\x00{64,}")

// folder keeps every file below a folder.
func (e *evidence) folder(t *testing.T, where, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		e.add(where, path+"\n"+string(gaps.ReplaceAll(data, []byte("\x00\n"))))
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// error keeps all that a failed call tells: the text and every detail. It fails the test if the call did not fail.
func (e *evidence) error(t *testing.T, where string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: the call did not fail", where)
		return
	}
	e.add(where, err.Error())
	e.message(t, where, status.Convert(err).Proto())
}

// message keeps an answer in every form in which it may be printed.
func (e *evidence) message(t *testing.T, where string, m proto.Message) {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Errorf("%s: %v", where, err)
	}
	e.add(where, string(text))
	e.add(where, fmt.Sprint(m))
}

// search reports every value that occurs somewhere, and names it instead of showing it.
func (e *evidence) search(t *testing.T, values map[string]string) {
	t.Helper()
	for _, leak := range e.leaks(values) {
		t.Error(leak)
	}
}

// leaks describes every value that occurs somewhere.
func (e *evidence) leaks(values map[string]string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for name, value := range values {
		for _, form := range forms(value) {
			for where, text := range e.texts {
				if at := strings.Index(text.String(), form); at >= 0 {
					all = append(all, fmt.Sprintf("%s is written in %s:\n%.500q", name, where, line(text.String(), at)))
				}
			}
		}
	}
	return all
}

// places lists where something was found.
func (e *evidence) places() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.texts))
}

// text is what was found at a place.
func (e *evidence) text(where string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.texts[where].String()
}

// has reports whether a text occurs in what was found at a place.
func (e *evidence) has(where, text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.texts[where]
	return found != nil && strings.Contains(found.String(), text)
}

// line is the line around a position.
func line(text string, at int) string {
	from := strings.LastIndexByte(text[:at], '\n') + 1
	whole, _, _ := strings.Cut(text[from:], "\n")
	return whole
}

func TestSearchFindsAValueInEveryDisguise(t *testing.T) {
	t.Parallel()
	const value = `S3cr3t+/=&?%"<>'~0123456789abcdef`
	for _, text := range []string{
		"secret=" + value + "!", "?secret=" + url.QueryEscape(value) + "&a=b", `{"secret":` + strconv.Quote(value) + "}", value[:20] + "...",
		base64.StdEncoding.EncodeToString([]byte("a" + value + "b")), base64.URLEncoding.EncodeToString([]byte("ab" + value)),
		fmt.Sprintf("%x", "abc"+value), decimal(value),
	} {
		if !slices.ContainsFunc(forms(value), func(form string) bool { return strings.Contains(text, form) }) {
			t.Errorf("not found in %s", text)
		}
	}
}
