package snapshot_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// keysets returns a keyset, and the same one in the middle of a rotation: with another primary.
func keysets(t *testing.T) (old, promoted *seal.Keyset) {
	t.Helper()
	old, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	both, id, err := old.Add()
	if err != nil {
		t.Fatal(err)
	}
	if promoted, err = both.Promote(id); err != nil {
		t.Fatal(err)
	}
	return old, promoted
}

// sealedWith lists the keys that the values in the file name.
func (s *site) sealedWith(t *testing.T) map[seal.ID]int {
	t.Helper()
	data, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[seal.ID]int{}
	for _, text := range regexp.MustCompile(`"sealed":("[^"]*")`).FindAllSubmatch(data, -1) {
		var sealed []byte
		if err := json.Unmarshal(text[1], &sealed); err != nil {
			t.Fatal(err)
		}
		id, _ := seal.KeyOf(sealed)
		found[id]++
	}
	return found
}

// A replica that was restarted with another primary, while etcd is away, holds what it held.
func TestASnapshotThatIsSealedWithAnOldKeyIsWrittenAnewAtOnceAndOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		old, promoted := keysets(t)
		s.key = old
		now := time.Now()
		s.write(t, snapshot.Snapshot{Namespace: namespace, Replica: replica, Written: now, Held: []view.Held{
			held("stable", record(3, now)), held("classic", record(4, now)),
		}})
		for _, step := range []struct {
			name string
			key  *seal.Keyset
			want seal.ID
		}{{"the same keys", old, old.Primary()}, {"another primary", promoted, promoted.Primary()}, {"the same again", promoted, promoted.Primary()}} {
			before, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			rewritten := s.sealedWith(t)[step.want] == 0
			s.key = step.key
			s.restart(t)
			k := s.keeper(t)
			k.Restore()
			stop := run(t, k)
			time.Sleep(time.Second)
			synctest.Wait()
			if got := s.sealedWith(t); len(got) != 1 || got[step.want] != 2 {
				t.Errorf("%s: the values are sealed with %v, want %v", step.name, got, step.want)
			}
			stop()
			after, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(before, after) == rewritten {
				t.Errorf("%s: it was written: %v, want %v", step.name, !bytes.Equal(before, after), rewritten)
			}
			s.want(t, 3)
		}
	})
}

func TestASnapshotThatCannotBeWrittenAnewIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		old, promoted := keysets(t)
		s.key = old
		s.write(t, snapshot.Snapshot{Namespace: namespace, Replica: replica, Written: time.Now(), Held: []view.Held{held("stable", record(3, time.Now()))}})
		s.key = promoted
		s.restart(t)
		k := s.keeper(t)
		k.Restore()
		if err := os.Rename(s.file, s.file+".elsewhere"); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(s.file+"/in the way", 0o700); err != nil {
			t.Fatal(err)
		}
		defer run(t, k)()
		time.Sleep(time.Second)
		synctest.Wait()
		s.logged(t, "the snapshot cannot be written", 1)
		if err := os.RemoveAll(s.file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := s.sealedWith(t); got[promoted.Primary()] != 1 {
			t.Errorf("the values are sealed with %v", got)
		}
	})
}

func TestASnapshotOfAKeyThatIsMissingSaysWhichOne(t *testing.T) {
	s := newSite(t)
	old, _ := keysets(t)
	other, _ := keysets(t)
	s.key = old
	s.write(t, snapshot.Snapshot{Namespace: namespace, Replica: replica, Written: time.Now(), Held: []view.Held{held("stable", record(3, time.Now()))}})
	s.key = other
	s.restart(t)
	s.keeper(t).Restore()
	s.logged(t, "reason=wrong_keys", 1)
	s.logged(t, "sealed with key "+old.Primary().String()+", which is missing here: the keyset has "+other.Primary().String(), 1)
}
