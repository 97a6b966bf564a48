package agent_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/agent"
)

// told is a file as a program reads it.
type told struct {
	Name        string    `json:"name"`
	AccessToken string    `json:"access_token"`
	Version     int64     `json:"version"`
	State       string    `json:"state"`
	ExpiresIn   int64     `json:"expires_in"`
	ExpiresAt   time.Time `json:"expires_at"`
	WrittenAt   time.Time `json:"written_at"`
}

// good is until when the file says that its token is good.
func (f told) good() time.Time { return f.WrittenAt.Add(time.Duration(f.ExpiresIn) * time.Second) }

func read(t *testing.T, path string) told {
	t.Helper()
	data, err := os.ReadFile(path)
	var f told
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	return f
}

// files has the agent keep two files of the token "shop", and returns their paths.
func files(t *testing.T, w *world) (statement, bare string) {
	t.Helper()
	dir := t.TempDir()
	statement, bare = filepath.Join(dir, "shop.json"), filepath.Join(dir, "shop.txt")
	w.start(func(cfg *agent.Config) {
		cfg.Files = []agent.File{{Token: "shop", Path: statement, Mode: 0o600}, {Token: "shop", Path: bare, Bare: true, Mode: 0o640}}
	})
	return statement, bare
}

func content(path string) string {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	return strings.TrimSuffix(string(data), "\n")
}

func TestFilesFollowTheToken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		end := time.Now().Add(time.Hour)
		statement, bare := files(t, w)
		synctest.Wait()
		got := read(t, statement)
		if got.Name != "shop" || got.AccessToken != value(1) || got.Version != 1 || got.State != "active" || got.good().After(end) || end.Sub(got.good()) > 2*time.Second ||
			got.ExpiresAt.After(end) || content(bare) != value(1) {
			t.Fatalf("the files say %+v and %q", got, content(bare))
		}
		for path, mode := range map[string]fs.FileMode{statement: 0o600, bare: 0o640} {
			if info, err := os.Stat(path); err != nil || info.Mode() != mode {
				t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
			}
		}
		w.broker.Set("shop", value(2), time.Hour)
		synctest.Wait() // not a second later
		if got := read(t, statement); got.AccessToken != value(2) || content(bare) != value(2) {
			t.Errorf("after a rotation they say %+v and %q", got, content(bare))
		}
		left, err := os.ReadDir(filepath.Dir(bare))
		if err != nil || len(left) != 2 {
			t.Errorf("the folder has %v, %v", left, err)
		}
	})
}

// The promise on a rotating token is renewed without an event, while version and state stay.
func TestAPromiseThatIsRenewedIsWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), 4*time.Minute)
		statement, _ := files(t, w)
		for range 600 {
			time.Sleep(2 * time.Second)
			w.broker.Set("shop", value(1), 4*time.Minute)
			got, now := read(t, statement), time.Now()
			if got.good().After(now.Add(4 * time.Minute)) {
				t.Fatalf("the file promises the token until %v, at %v", got.good(), now)
			}
			if got.good().Before(now.Add(30 * time.Second)) {
				t.Fatalf("the file has %v left", got.good().Sub(now))
			}
		}
	})
}

func TestAFileNeverHoldsADeadTokenThatLooksGood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Minute)
		end := time.Now().Add(time.Minute)
		statement, bare := files(t, w)
		time.Sleep(10 * time.Second)
		w.network.Cut()
		for time.Now().Before(end.Add(time.Minute)) {
			got, now := read(t, statement), time.Now()
			switch {
			case now.Before(end.Add(-2 * time.Second)):
				if got.State != "active" || got.AccessToken != value(1) || content(bare) != value(1) {
					t.Fatalf("%v before the end the files say %+v and %q", end.Sub(now), got, content(bare))
				}
			case now.After(end.Add(1100 * time.Millisecond)):
				if got.State != "expired" || got.AccessToken != "" || got.ExpiresIn != 0 || got.Version != 1 || content(bare) != "none" {
					t.Fatalf("%v after the end the files say %+v and %q", now.Sub(end), got, content(bare))
				}
			}
			if got.good().After(end) {
				t.Fatalf("the file promises the token for %v too long", got.good().Sub(end))
			}
			time.Sleep(500 * time.Millisecond)
		}
		w.broker.Set("shop", value(2), time.Hour)
		w.network.Heal()
		time.Sleep(15 * time.Second)
		if got := read(t, statement); got.AccessToken != value(2) || content(bare) != value(2) {
			t.Errorf("after the outage they say %+v and %q", got, content(bare))
		}
	})
}

func TestATokenThatWasReportedGoesFromFiles(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		statement, bare := files(t, w)
		w.must()
		w.network.Cut()
		_, err := w.report(byVersion(1))
		expect(t, "the report", err, "DeadlineExceeded tokenbroker/UNSETTLED")
		if got := read(t, statement); got.AccessToken != "" || content(bare) != "none" {
			t.Errorf("the files say %+v and %q", got, content(bare))
		}
	})
}

func TestASuspectTokenIsCalledThat(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.broker.Suspect("shop")
		statement, bare := files(t, w)
		time.Sleep(2 * time.Second)
		got := read(t, statement)
		if got.State != "suspect" || got.ExpiresIn != 0 || got.AccessToken != value(1) || content(bare) != value(1) {
			t.Errorf("the files say %+v and %q", got, content(bare))
		}
		time.Sleep(time.Minute)
		if again := read(t, statement); again != got {
			t.Errorf("what has not changed was written anew: %+v after %+v", again, got)
		}
	})
}

// What says itself until when it is good may stay; what does not must go.
func TestWhatIsLeftOfFilesAfterTheAgent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Minute)
		statement, bare := files(t, w)
		time.Sleep(2 * time.Second)
		w.stop()
		if got := read(t, statement); got.AccessToken != value(1) || content(bare) != "none" {
			t.Fatalf("they say %+v and %q", got, content(bare))
		}
		// The next agent finds no broker, and a half-written file of the first.
		stray := filepath.Join(filepath.Dir(statement), ".shop.json.123.tmp")
		for _, path := range []string{bare, stray} {
			if err := os.WriteFile(path, []byte(value(1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.network.Cut()
		w.start(func(cfg *agent.Config) {
			cfg.Files = []agent.File{{Token: "shop", Path: statement, Mode: 0o600}, {Token: "shop", Path: bare, Bare: true, Mode: 0o600}}
		})
		time.Sleep(30 * time.Second)
		if got := read(t, statement); got.AccessToken != value(1) || content(bare) != "none" || content(stray) != "none" {
			t.Errorf("before the end they say %+v, %q and %q", got, content(bare), content(stray))
		}
		time.Sleep(30 * time.Second)
		if got := read(t, statement); got.AccessToken != "" || got.State != "expired" {
			t.Errorf("after the end: %+v", got)
		}
	})
}

func TestAFileThatCannotBeWrittenIsToldOnceAndTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		statement, _ := files(t, w)
		synctest.Wait()
		dir := filepath.Dir(statement)
		if err := os.Rename(dir, dir+"-away"); err != nil {
			t.Fatal(err)
		}
		w.broker.Set("shop", value(2), time.Hour)
		time.Sleep(10 * time.Second)
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := read(t, statement); got.AccessToken != value(2) {
			t.Errorf("afterwards the file says %+v", got)
		}
		if n := len(w.log.Lines("file not kept up to date")); n != 2 { // one for each file
			t.Errorf("the log was told %d times", n)
		}
		if len(w.log.Lines("secret-value")) > 0 {
			t.Error("there is a value in the log")
		}
	})
}

func TestFilesThatCannotBeAreRefusedAtTheStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		for _, f := range []agent.File{
			{Token: "shop", Path: filepath.Join(dir, "no-such-folder", "shop.json")}, {Token: "shop", Path: dir}, {Token: "A/b", Path: filepath.Join(dir, "x")},
		} {
			w.start(func(cfg *agent.Config) { cfg.Files = []agent.File{f} })
			synctest.Wait()
			w.stop()
			if w.ended == nil {
				t.Errorf("%+v was accepted", f)
			}
		}
	})
}
