package snapshot_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// now is a snapshot that is written at this moment, with one token.
func now() snapshot.Snapshot {
	return snapshot.Snapshot{Namespace: namespace, Replica: replica, Written: time.Now(), Held: []view.Held{held("stable", record(3, time.Now()))}}
}

// encoded is the file of a snapshot that was changed by edit.
func encoded(t *testing.T, key lock, edit func(*snapshot.Snapshot)) []byte {
	t.Helper()
	s := now()
	edit(&s)
	data, err := snapshot.Encode(s, codec(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asIs(*snapshot.Snapshot) {}

// patched is a file whose text was changed, with a checksum that fits again.
func patched(t *testing.T, old, text string) []byte {
	t.Helper()
	type envelope struct {
		Format  string          `json:"format"`
		Schema  int             `json:"schema"`
		SHA256  string          `json:"sha256"`
		Content json.RawMessage `json:"content"`
	}
	var e envelope
	if err := json.Unmarshal(encoded(t, siteKey, asIs), &e); err != nil {
		t.Fatal(err)
	}
	e.Content = bytes.Replace(e.Content, []byte(old), []byte(text), 1)
	e.SHA256 = snapshot.Checksum(e.Content)
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), text) {
		t.Fatalf("%q is not in %s", old, data)
	}
	return data
}

// refusals are files that must not be used, by how they came to be.
var refusals = []struct {
	name   string
	reason snapshot.Reason
	make   func(t *testing.T, s *site)
	says   string
}{
	{"empty", snapshot.Damaged, func(t *testing.T, s *site) { s.put(t, nil) }, "not whole"},
	{"truncated", snapshot.Damaged, func(t *testing.T, s *site) {
		data := encoded(t, siteKey, asIs)
		s.put(t, data[:len(data)/2])
	}, "not whole"},
	{"one bit of the value changed", snapshot.Damaged, func(t *testing.T, s *site) {
		data := encoded(t, siteKey, asIs)
		data[bytes.Index(data, []byte(`"sealed":"`))+20] ^= 1
		s.put(t, data)
	}, "checksum"},
	{"one bit of the checksum changed", snapshot.Damaged, func(t *testing.T, s *site) {
		data := encoded(t, siteKey, asIs)
		data[bytes.Index(data, []byte(`"sha256":"`))+12] ^= 1
		s.put(t, data)
	}, "checksum"},
	{"no schema", snapshot.Damaged, func(t *testing.T, s *site) {
		s.put(t, bytes.Replace(encoded(t, siteKey, asIs), []byte(`"schema":1`), []byte(`"schema":0`), 1))
	}, "head"},
	{"two snapshots after each other", snapshot.Damaged, func(t *testing.T, s *site) {
		data := encoded(t, siteKey, asIs)
		s.put(t, append(data, data...))
	}, "not whole"},
	{"too large", snapshot.TooLarge, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, asIs))
		if err := os.Truncate(s.file, snapshot.MaxSize+1); err != nil {
			t.Fatal(err)
		}
	}, "larger"},
	{"of a newer program", snapshot.Newer, func(t *testing.T, s *site) {
		s.put(t, bytes.Replace(encoded(t, siteKey, asIs), []byte(`"schema":1`), []byte(`"schema":2,"content":7`), 1))
	}, "schema 2, this program knows 1"},
	{"readable by its group", snapshot.Exposed, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, asIs))
		chmod(t, s.file, 0o640)
	}, "-rw-r-----"},
	{"writable by everyone", snapshot.Exposed, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, asIs))
		chmod(t, s.file, 0o602)
	}, "-rw-----w-"},
	{"from the future", snapshot.Future, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) { s.Written = time.Now().Add(view.DefaultSkew + time.Minute) }))
	}, "in the future"},
	{"sealed with another key", snapshot.WrongKeys, func(t *testing.T, s *site) { s.put(t, encoded(t, 9, asIs)) }, "does not open with the present keys"},
	{"sealed for another token", snapshot.WrongKeys, func(t *testing.T, s *site) {
		s.put(t, patched(t, `"name":"stable"`, `"name":"classic"`))
	}, "does not open with the present keys"},
	{"a content of another form", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, patched(t, `"tokens":[`, `"tokens":"many","more":[`))
	}, "form"},
	{"a name that none may have", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, patched(t, `"name":"stable"`, `"name":"Stable"`))
	}, "bad token name"},
	{"a record of a newer program", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, patched(t, `"record":{"schema":1`, `"record":{"schema":99`))
	}, "schema 99"},
	{"a value without a version", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, patched(t, `"version":3`, `"version":0`))
	}, "contradicts itself"},
	{"a version from nowhere", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) { s.Held[0].Seen = 2 }))
	}, "does not fit"},
	{"more seen than held", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) { s.Held[0].Seen, s.Held[0].Local = 4, true }))
	}, "does not fit"},
	{"a token that never was", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) { s.Held[0].Record, s.Held[0].Seen = token.Record{}, 0 }))
	}, "never had a value"},
	{"nothing fetched alone", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) {
			s.Held[0].Local, s.Held[0].Record.Value = true, token.Secret{}
		}))
	}, "no value"},
	{"a token twice", snapshot.Contradictory, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, func(s *snapshot.Snapshot) { s.Held = append(s.Held, s.Held...) }))
	}, "twice"},

	{"something else", snapshot.NotASnapshot, func(t *testing.T, s *site) { s.put(t, []byte("tokens:\n- name: shop\n")) }, "something else"},
	{"something else, and large", snapshot.NotASnapshot, func(t *testing.T, s *site) {
		s.put(t, []byte("something else"))
		if err := os.Truncate(s.file, snapshot.MaxSize+1); err != nil {
			t.Fatal(err)
		}
	}, "something else"},
	{"something else that all may read", snapshot.NotASnapshot, func(t *testing.T, s *site) {
		s.put(t, []byte("root:x:0:0:root:/root:/bin/sh\n"))
		chmod(t, s.file, 0o644)
	}, "something else"},
	{"of another cluster", snapshot.OtherNamespace, func(t *testing.T, s *site) {
		s.put(t, encoded(t, 9, func(s *snapshot.Snapshot) { s.Namespace = "/staging/" }))
	}, `"/staging/"`},
	{"a link", snapshot.NotAFile, func(t *testing.T, s *site) {
		s.put(t, encoded(t, siteKey, asIs))
		if err := errors.Join(os.Rename(s.file, s.file+".real"), os.Symlink(s.file+".real", s.file)); err != nil {
			t.Fatal(err)
		}
	}, "symbolic link"},
	{"a folder", snapshot.NotAFile, func(t *testing.T, s *site) {
		if err := os.Mkdir(s.file, 0o700); err != nil {
			t.Fatal(err)
		}
	}, "a folder"},
	{"a pipe", snapshot.NotAFile, func(t *testing.T, s *site) {
		if err := syscall.Mkfifo(s.file, 0o600); err != nil {
			t.Fatal(err)
		}
	}, "pipe"},
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestEveryRefusalNamesTheFileWhatIsWrongAndTheWayOut(t *testing.T) {
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			tc.make(t, s)
			got, err := s.read(t)
			var refusal *snapshot.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("%d tokens are read, error %v", len(got.Held), err)
			}
			text := refusal.Error()
			if refusal.Reason != tc.reason || !strings.Contains(text, tc.says) {
				t.Errorf("refused as %s: %s; want %s and %q", refusal.Reason, text, tc.reason, tc.says)
			}
			if !strings.Contains(text, s.file) || refusal.Remedy == "" {
				t.Errorf("the file or the way out is missing: %s", text)
			}
			if strings.Contains(text, "the value of version") || strings.Contains(text, "root:x") {
				t.Errorf("the file's content is told: %s", text)
			}
		})
	}
}

func TestOneThatMayNotBeReadIsForeign(t *testing.T) {
	s := newSite(t)
	blocked := s.file
	s.put(t, nil)
	s.file += "/snapshot.json" // below a file: not even root can look there
	_, err := s.read(t)
	var refusal *snapshot.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != snapshot.Unreadable || !refusal.Foreign() || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below the file %s: %v", blocked, err)
	}
}

func TestWhereThereIsNoFileThereIsNoRefusal(t *testing.T) {
	_, err := newSite(t).read(t)
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*snapshot.Refusal)) {
		t.Error(err)
	}
}
