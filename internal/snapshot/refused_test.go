package snapshot_test

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/snapshot"
)

func TestARefusedFileIsToldOfAndNoHarm(t *testing.T) {
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site) {
				tc.make(t, s)
				k := s.keeper(t)
				k.Restore()
				s.logged(t, "level=ERROR", 1)
				s.logged(t, "reason="+string(tc.reason), 1)
				if s.view.Filled() {
					t.Error("something of it was used")
				}
				if gather(t, k)["tokenbroker_snapshot_refused"+string(tc.reason)] != 1 {
					t.Errorf("the metric does not tell: %v", gather(t, k))
				}
				before := look(t, s.file)
				stop := run(t, k)
				time.Sleep(time.Minute)
				synctest.Wait()
				if after := look(t, s.file); after != before {
					t.Error("the file was changed before there was anything to write")
				}
				s.load(held("stable", record(9, time.Now())))
				time.Sleep(time.Minute)
				stop()

				foreign := (&snapshot.Refusal{Reason: tc.reason}).Foreign()
				kept := s.file
				if !foreign {
					kept += ".refused"
					s.want(t, 9)
					if gather(t, k)["tokenbroker_snapshot_refused"+string(tc.reason)] != 0 {
						t.Error("the metric still tells of the refusal after a new snapshot was written")
					}
				}
				if after := look(t, kept); after != before {
					t.Errorf("what was refused is not kept as it was in %s", kept)
				}
				if info, err := os.Lstat(kept); err != nil || !foreign && info.Mode().Perm() != 0o600 {
					t.Errorf("%s is of mode %v, %v", kept, info.Mode(), err)
				}
			})
		})
	}
}

// sight is what can be seen of a file.
type sight struct {
	content string // its beginning
	size    int64
	kind    string
}

func look(t *testing.T, path string) sight {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := sight{kind: info.Mode().Type().String()}
	if !info.Mode().IsRegular() {
		return s
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	s.content, s.size = string(data), info.Size()
	return s
}

func TestASnapshotIsWrittenOnceAForeignFileIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.put(t, []byte("the only copy of something"))
		k := s.keeper(t)
		k.Restore()
		defer run(t, k)()
		s.load(held("stable", record(1, time.Now())))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := os.Remove(s.file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		s.want(t, 1)
	})
}
