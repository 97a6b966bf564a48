package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/audit"
)

func TestRecordIsInTheFileWhenAppendReturnsHoweverManyAppend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	k := keep(t, audit.Config{File: file, Refuse: true, Patience: time.Minute})
	const each, callers = 50, 8
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := range each {
				token := strings.Repeat("x", caller+1) + "-" + strings.Repeat("y", n+1)
				if err := k.Append(audit.Record{Token: token}); err != nil {
					t.Error(err)
				}
				data, err := os.ReadFile(file)
				if err != nil || !strings.Contains(string(data), `"token":"`+token+`"`) {
					t.Errorf("record %d of %d is not there: %v", n, caller, err)
				}
			}
		})
	}
	all.Wait()
	if got := len(lines(t, file)); got != each*callers {
		t.Errorf("%d lines", got)
	}
	if written := k.metric("tokenbroker_audit_lines_total", "written"); written != each*callers {
		t.Errorf("%v are said to be written", written)
	}
}

func TestFileIsItsOwnersAloneAndIsAppendedTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	for n := range 2 {
		k := keep(t, audit.Config{File: file})
		if err := k.Append(audit.Record{}); err != nil {
			t.Fatal(err)
		}
		if err := k.stop(); err != nil {
			t.Fatal(err)
		}
		if got := len(lines(t, file)); got != n+1 {
			t.Errorf("%d lines after run %d", got, n+1)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

func TestFileThatOthersCanChangeIsSpokenOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o620); err != nil {
		t.Fatal(err)
	}
	k := keep(t, audit.Config{File: file})
	if err := k.Append(audit.Record{}); err != nil || !strings.Contains(k.said.String(), "others can change the audit log") {
		t.Errorf("%v; said: %s", err, k.said)
	}
}

func TestHalfALineOfAnEarlierProcessIsEndedFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(file, []byte("{}\n{\"time\":\"20"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keep(t, audit.Config{File: file})
	if err := k.Append(audit.Record{Token: "shop"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if got := strings.Split(string(data), "\n"); err != nil || len(got) != 4 || got[1] != `{"time":"20` || !strings.Contains(got[2], `"token":"shop"`) {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestLogThatCannotBeOpenedDoesNotRun(t *testing.T) {
	log := audit.New(audit.Config{File: filepath.Join(t.TempDir(), "missing", "audit.log"), Refuse: true})
	if err := log.Run(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "opening the audit log") {
		t.Errorf("Run returned %v", err)
	}
	if err := log.Append(audit.Record{}); !errors.Is(err, audit.ErrUnrecorded) {
		t.Errorf("Append returned %v", err)
	}
}

func TestReopenedLogGoesOnInTheNewFileAndLosesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	k := keep(t, audit.Config{File: file, Patience: time.Minute})
	const all = 300
	for n := range all {
		if n == all/2 {
			if err := os.Rename(file, file+".1"); err != nil {
				t.Fatal(err)
			}
			k.Reopen()
		}
		if err := k.Append(audit.Record{}); err != nil {
			t.Fatal(err)
		}
	}
	old, fresh := len(lines(t, file+".1")), len(lines(t, file))
	if old != all/2 || fresh != all/2 {
		t.Errorf("%d lines in the old file and %d in the new", old, fresh)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the new file's mode is %v, %v", info.Mode(), err)
	}
}

func TestFileThatWasMovedOrRemovedIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	k := keep(t, audit.Config{File: file})
	for _, lose := range []func() error{
		func() error { return os.Rename(file, file+".1") },
		func() error { return os.Remove(file) },
	} {
		if err := k.Append(audit.Record{}); err != nil {
			t.Fatal(err)
		}
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		for { // until the test's own deadline
			if err := k.Append(audit.Record{Token: "again"}); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file); err == nil {
				break
			}
		}
	}
}

func TestWhereNoNewFileCanBeOpenedTheOldOneIsWrittenOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	file := filepath.Join(dir, "audit.log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k := keep(t, audit.Config{File: file, Refuse: true, Patience: time.Minute})
	if err := k.Append(audit.Record{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	k.Reopen()
	for range 3 {
		if err := k.Append(audit.Record{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(lines(t, filepath.Join(dir+".away", "audit.log"))); got != 4 || !k.failing() {
		t.Errorf("%d lines in the old file, failing: %v", got, k.failing())
	}
	if said := strings.Count(k.said.String(), "cannot be opened anew"); said != 1 {
		t.Errorf("said %d times", said)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	for k.failing() { // until the test's own deadline: it is tried every second
		if err := k.Append(audit.Record{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskIsCountedSaidOnceAndAnsweredAsConfigured(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		k := keep(t, audit.Config{File: "/dev/full", Refuse: refuse, Patience: time.Minute})
		for range 3 {
			if err := k.Append(audit.Record{}); errors.Is(err, audit.ErrUnrecorded) != refuse {
				t.Errorf("refuse: %v, Append returned %v", refuse, err)
			}
		}
		if lost := k.metric("tokenbroker_audit_lines_total", "lost"); lost != 3 || !k.failing() {
			t.Errorf("%v are lost, failing: %v", lost, k.failing())
		}
		if said := strings.Count(k.said.String(), "cannot be written"); said != 1 || !strings.Contains(k.said.String(), "no space left") {
			t.Errorf("said: %s", k.said)
		}
	}
}

func TestDiskThatHasRoomAgainGetsWholeLinesAndLearnsHowManyAreMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &disk{room: 1000}
		k := keep(t, audit.Config{Out: out, Refuse: true})
		var made, refused int
		for range 20 {
			if err := k.Append(audit.Record{Token: "shop"}); err == nil {
				made++
			} else {
				refused++
			}
		}
		if torn := out.text(); made == 0 || refused == 0 || strings.HasSuffix(torn, "\n") {
			t.Fatalf("%d were made and %d refused, and the disk has %q", made, refused, torn)
		}
		out.grow(1 << 20)
		time.Sleep(time.Second) // it is tried again without any call
		synctest.Wait()
		if k.failing() {
			t.Error("still failing")
		}
		if err := k.Append(audit.Record{Token: "again"}); err != nil {
			t.Fatal(err)
		}
		all := strings.Split(strings.TrimSuffix(out.text(), "\n"), "\n")
		torn, rest := all[made], all[made+1:]
		if strings.HasSuffix(torn, "}") {
			t.Errorf("no half line at %d: %q", made, all)
		}
		got := parse(t, []byte(strings.Join(rest, "\n")+"\n"))
		if len(got) != 2 || got[0]["phase"] != "lost" || got[0]["lost"] != float64(refused) || got[1]["token"] != "again" {
			t.Errorf("after the half line come %v, %d were refused", got, refused)
		}
		if said := k.said.String(); strings.Count(said, "cannot be written") != 1 || strings.Count(said, "is written again") != 1 {
			t.Errorf("said: %s", said)
		}
	})
}

func TestDiskThatHangsHoldsUpNobodyForLong(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			out := &disk{room: 1 << 30, hang: make(chan struct{})}
			k := keep(t, audit.Config{Out: out, Refuse: refuse})
			begin := time.Now()
			for n := range 5 {
				if err := k.Append(audit.Record{Token: "shop"}); errors.Is(err, audit.ErrUnrecorded) != refuse {
					t.Errorf("refuse: %v, call %d got %v", refuse, n, err)
				}
			}
			if took := time.Since(begin); took != audit.DefaultPatience {
				t.Errorf("five calls were held up for %v", took)
			}
			if !k.failing() || strings.Count(k.said.String(), "does not answer") != 1 {
				t.Errorf("failing: %v, said: %s", k.failing(), k.said)
			}
			close(out.hang)
			synctest.Wait()
			begin = time.Now()
			if err := k.Append(audit.Record{Token: "again"}); err != nil || time.Since(begin) > 0 || k.failing() {
				t.Errorf("when it answers again: %v, after %v", err, time.Since(begin))
			}
			want := 6
			if refuse { // those who did not wait are not in the log but as a number
				want = 3
			}
			if got := parse(t, []byte(out.text())); len(got) != want {
				t.Errorf("refuse: %v, the log has %v", refuse, got)
			}
		})
	}
}

func TestQueueIsBoundedWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &disk{room: 1 << 30, hang: make(chan struct{})}
		k := keep(t, audit.Config{Out: out})
		for range 100_000 {
			if err := k.Append(audit.Record{Token: strings.Repeat("x", 80)}); err != nil {
				t.Fatal(err)
			}
		}
		lost := k.metric("tokenbroker_audit_lines_total", "lost")
		close(out.hang)
		synctest.Wait()
		if written := len(out.text()); lost == 0 || written > 5<<20 {
			t.Errorf("%v lost, %d bytes were queued", lost, written)
		}
		if err := k.stop(); err != nil {
			t.Error(err)
		}
		got := parse(t, []byte(out.text()))
		if n := k.metric("tokenbroker_audit_lines_total", "written"); n+lost != 100_000 || got[len(got)-1]["lost"] != lost && got[1]["lost"] != lost {
			t.Errorf("%v written and %v lost; the last line is %v", n, lost, got[len(got)-1])
		}
	})
}

func TestWhatIsQueuedIsWrittenBeforeTheLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &disk{room: 1 << 30, hang: make(chan struct{})}
		k := keep(t, audit.Config{Out: out})
		for range 2 {
			if err := k.Append(audit.Record{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { defer cancel(); _ = k.stop() }()
		synctest.Wait()
		close(out.hang)
		<-ctx.Done()
		if got := parse(t, []byte(out.text())); len(got) != 2 {
			t.Errorf("the log has %v", got)
		}
		if err := k.Append(audit.Record{}); err != nil {
			t.Errorf("after its end, Append returned %v", err)
		}
	})
}

// disk has so much room, and hangs until its channel is closed, if it has one.
type disk struct {
	hang chan struct{}

	mu   sync.Mutex
	room int
	data []byte
}

func (d *disk) Write(p []byte) (int, error) {
	if d.hang != nil {
		<-d.hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room-len(d.data))
	d.data = append(d.data, p[:n]...)
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) grow(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func (d *disk) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.data)
}
