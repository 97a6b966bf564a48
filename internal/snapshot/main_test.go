package snapshot_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	namespace = "/tokenbroker/"
	replica   = "broker-1"
	source    = "wechat stable wx1 https://wechat.invalid"
)

// idempotent and rotating are the two kinds of upstream.
var (
	idempotent = token.Traits{Kind: "wechat stable", Source: source, MaxLife: 2 * time.Hour, Calendar: time.UTC}
	rotating   = token.Traits{Kind: "wechat classic", Source: source, Rotating: true, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Calendar: time.UTC}
)

// lock is a store.Sealer. Its key decides what opens.
type lock byte

// siteKey is what a site's replica seals with, and noKey seals nothing.
const (
	siteKey lock = 5
	noKey   lock = 0
)

var errNoKey = errors.New("no key fits")

func (l lock) Seal(value []byte, key string) ([]byte, error) {
	if l == noKey {
		return nil, errNoKey
	}
	return append([]byte(key+"|"+string(l)), l.mix(value)...), nil
}

func (l lock) Open(sealed []byte, key string) ([]byte, error) {
	value, fits := bytes.CutPrefix(sealed, []byte(key+"|"+string(l)))
	if !fits {
		return nil, errNoKey
	}
	return l.mix(value), nil
}

func (l lock) Current(sealed []byte) bool { return bytes.Contains(sealed, []byte("|"+string(l))) }

func (l lock) mix(value []byte) []byte {
	return bytes.Map(func(r rune) rune { return r ^ rune(l) }, value)
}

// codec is that of a store with the key.
func codec(tb testing.TB, key store.Sealer) *store.Store {
	tb.Helper()
	s, err := store.New(store.Config{Namespace: namespace, Sealer: key})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// record is a token's record with a value of 7200 s, issued at some time.
func record(version int64, issued time.Time) token.Record {
	return token.Record{
		Version: version, Source: source, Value: token.NewSecret("the value of version " + strings.Repeat("i", int(version))),
		IssuedAt: issued.UTC(), Life: 2 * time.Hour,
	}
}

func held(name string, rec token.Record) view.Held {
	return view.Held{Name: name, Record: rec, Seen: rec.Version}
}

// site is one replica's surroundings.
type site struct {
	file   string
	view   *view.View
	course snapshot.Course
	clock  *clock.Clock
	log    *logtest.Buffer
	key    store.Sealer
}

// newSite returns a replica with the idempotent token "stable" and the rotating one "classic", in a folder of its own.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{file: filepath.Join(t.TempDir(), "snapshot.json"), log: &logtest.Buffer{}, key: siteKey}
	s.restart(t)
	return s
}

// restart forgets all but the file and the log.
func (s *site) restart(t *testing.T) {
	t.Helper()
	s.clock, s.course = clock.New(), codec(t, s.key)
	s.view = view.New(view.Config{Clock: s.clock})
	err := s.view.Configure([]view.Spec{
		{Name: "stable", Traits: idempotent}, {Name: "classic", Traits: rotating, Timing: token.TimingFor(rotating.Overlap)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) keeper(t *testing.T) *snapshot.Keeper {
	t.Helper()
	k, err := snapshot.New(snapshot.Config{
		File: s.file, Namespace: namespace, Replica: replica, View: s.view, Codec: codec(t, s.key), Course: s.course, Clock: s.clock,
		Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// load has the store tell the view of records.
func (s *site) load(held ...view.Held) {
	var changes []view.Change
	for _, h := range held {
		changes = append(changes, view.Change{Name: h.Name, Record: h.Record})
	}
	floor := s.view.Revision()
	s.view.Load(floor, floor+1, floor+1, changes)
}

// read reads the file as a replica with the same keys would.
func (s *site) read(t *testing.T) (snapshot.Snapshot, error) {
	t.Helper()
	return snapshot.Read(s.file, namespace, time.Now().Add(view.DefaultSkew), codec(t, s.key))
}

// write writes a snapshot as another run of the program would.
func (s *site) write(t *testing.T, snap snapshot.Snapshot) {
	t.Helper()
	data, err := snapshot.Encode(snap, codec(t, s.key))
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, data)
}

func (s *site) put(t *testing.T, data []byte) {
	t.Helper()
	if err := os.WriteFile(s.file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// logged fails the test unless the log has a text this often.
func (s *site) logged(t *testing.T, text string, times int) {
	t.Helper()
	if n := strings.Count(s.log.String(), text); n != times {
		t.Errorf("the log says %q %d times, want %d:\n%s", text, n, times, s.log)
	}
}
