package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// catchUp is how long a proof of freshness waits for the watch to deliver what the proof has seen, before everything is read anew.
const catchUp = 300 * time.Millisecond

// correctEvery is how many proofs lie between two looks for versions that the store does not know of.
const correctEvery = 5

// Why a watch was given up; the feed loads everything and watches again.
var (
	errReload   = errors.New("a reload was asked for")
	errWentBack = errors.New("the store went back to an earlier revision")
	errEnded    = errors.New("the watch ended")
)

// Run feeds the view, and the post, until ctx ends; then it returns nil. etcd being away stops the feed, not Run.
func (s *Store) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.watchForever(ctx) })
	group.Go(func() error { return s.syncForever(ctx) })
	group.Go(func() error { return s.correctForever(ctx) })
	return group.Wait()
}

// watchForever loads the keyspace and follows it, again and again.
func (s *Store) watchForever(ctx context.Context) error {
	pause := firstPause
	refused := 0 // loads in a row
	for ctx.Err() == nil {
		began := s.clock.Now()
		revision, err := s.load(ctx)
		if err == nil {
			refused = 0
			err = s.follow(ctx, revision)
		}
		if s.clock.Now().Sub(began) > longestPause {
			pause = firstPause
		}
		switch {
		case errors.Is(err, errReload) || ctx.Err() != nil:
		case remedy(err) != "":
			s.complain("reading the keyspace", refused, err)
			refused++
		default:
			s.log.Warn("watching etcd was interrupted; starting over", "err", err)
		}
		rest(ctx, pause)
		pause = min(2*pause, longestPause)
	}
	return nil
}

// follow applies what the watch tells from after a revision on, until it fails.
func (s *Store) follow(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	var opening sync.WaitGroup
	defer opening.Wait()
	defer cancel()
	era := s.compass.known().Era
	// The client blocks until etcd has confirmed the watch, which may be never; a reload must be heard meanwhile.
	opened := make(chan clientv3.WatchChan, 1)
	opening.Go(func() {
		opened <- s.client.Watch(ctx, string(s.keys), clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	})
	var events clientv3.WatchChan
	for {
		select {
		case events = <-opened:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.reload:
			return errReload
		case resp, open := <-events:
			if !open {
				return errEnded
			}
			if err := resp.Err(); err != nil {
				return fmt.Errorf("watching: %w", err)
			}
			s.take(era, resp.Events)
		}
	}
}

// load reads the whole keyspace linearizably, hands it to the view and the post, and takes it as a proof of freshness.
func (s *Store) load(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	known, floor, sent := s.compass.known(), s.view.Revision(), s.clock.Read()
	resp, err := s.client.Get(ctx, string(s.keys), clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("loading: %w", err)
	}
	b := s.sort(resp.Kvs)
	found := course{Revision: resp.Header.Revision, Head: b.head, Puts: b.puts}
	// gofail: var storeBeforeApply struct{}
	s.feeding.Lock()
	defer s.feeding.Unlock()
	back, err := s.compass.found(known, found)
	switch {
	case err != nil:
		return 0, fmt.Errorf("loading: %w", err)
	case back:
		s.log.Error("etcd went back in time: it was restored from a backup, or emptied", "revision", found.Revision, "seen", known.Revision)
		s.view.Rewind(found.Revision, b.head, b.changes)
		s.compass.restart(found)
	case !s.view.Load(floor, found.Revision, b.head, b.changes):
		return found.Revision, nil
	}
	s.post.load(b.orphans, b.requests)
	s.unusable.load(b.unusable)
	s.view.Synced(sent, b.head)
	return found.Revision, nil
}

// batch is a set of keys, sorted by who wants them.
type batch struct {
	head     int64
	puts     int64 // of the head, so far
	changes  []view.Change
	orphans  []orphanEvent
	requests []requestEvent
	unusable map[string]string // why records cannot be used, by token; empty for those that can
}

func (s *Store) sort(kvs []*mvccpb.KeyValue) batch {
	b := batch{unusable: map[string]string{}}
	for _, kv := range kvs {
		s.put(&b, kv, false)
	}
	return b
}

// put adds one key to the batch. deleted says that the key is gone.
func (s *Store) put(b *batch, kv *mvccpb.KeyValue, deleted bool) {
	switch part, rest := s.keys.split(kv.Key); part {
	case partHead:
		b.head, b.puts = kv.ModRevision, kv.Version
	case partToken:
		change, err := s.readRecord(rest, kv, deleted)
		b.changes = append(b.changes, change)
		if b.unusable[rest] = ""; err != nil {
			b.unusable[rest] = reasonOf(err)
		}
	case partOrphan:
		if !deleted {
			b.orphans = append(b.orphans, readOrphanEvent(rest, kv.ModRevision))
		}
	case partRequest:
		b.requests = append(b.requests, s.readRequest(kv, deleted))
	}
}

// readRecord decodes a record. One that cannot be used is told of, and changes nothing but that the view is in doubt.
func (s *Store) readRecord(name string, kv *mvccpb.KeyValue, deleted bool) (view.Change, error) {
	if deleted {
		return view.Change{Name: name}, nil
	}
	rec, err := s.decodeRecord(string(kv.Key), kv.Value)
	if err != nil {
		s.log.Error("a token record cannot be used; going on with what this replica holds", "token", name, "reason", reasonOf(err), "err", err)
	}
	return view.Change{Name: name, Record: rec, Unreadable: err != nil}, err
}

// take applies the events of one watch response, revision by revision. etcd delivers all events of a revision together. A change that
// the view has passed already, because it was read meanwhile, is ignored. era is that in which the watch was opened.
func (s *Store) take(era int, events []*clientv3.Event) {
	s.feeding.Lock()
	defer s.feeding.Unlock()
	for len(events) > 0 {
		revision, n := events[0].Kv.ModRevision, 1
		for n < len(events) && events[n].Kv.ModRevision == revision {
			n++
		}
		b := batch{unusable: map[string]string{}}
		for _, ev := range events[:n] {
			s.put(&b, ev.Kv, ev.Type == mvccpb.DELETE)
		}
		if s.compass.told(era, course{Revision: revision, Head: b.head, Puts: b.puts}) {
			s.Reload() // and nothing that is told until then may end a doubt
			return
		}
		if s.view.Apply(revision, b.head, b.changes) {
			s.post.apply(b.orphans, b.requests)
			s.unusable.apply(b.unusable)
		}
		events = events[n:]
	}
}

// syncForever proves the view's freshness again and again. It tells people when that begins to fail, and when it works again.
func (s *Store) syncForever(ctx context.Context) error {
	inSync := false
	for rest(ctx, s.syncEvery) {
		err := s.sync(ctx)
		switch now := s.view.InSync(); {
		case now && !inSync:
			s.log.Info("the view is proved current")
			inSync = true
		case !now && inSync && ctx.Err() == nil:
			s.log.Warn("cut off from etcd: the view cannot be proved current; rotating tokens can soon not be promised",
				"err", err, "remedy", cmp.Or(remedy(err), "see that etcd has a quorum and that this replica reaches it"))
			inSync = false
		}
	}
	return nil
}

// correctForever tells the leader of versions that it does not know of, so that it goes on above them: those that the store has lost,
// as reports of them, and those under which this replica serves what the store does not have; and of those whose fate the store may
// have lost. While the replica is cut off it does not try.
func (s *Store) correctForever(ctx context.Context) error {
	for rest(ctx, correctEvery*s.syncEvery) {
		if !s.view.InSync() {
			continue
		}
		for name, version := range s.view.Ahead() {
			err := s.correct(ctx, token.Request{Kind: token.RequestReport, Name: name, Version: version})
			s.log.Warn("the store lost a version that this replica holds; telling the leader", "token", name, "version", version, "err", err)
		}
		for name, version := range s.view.Doubted() {
			err := s.correct(ctx, token.Request{Kind: token.RequestDoubt, Name: name, Version: version})
			s.log.Warn("the store may have lost what became of a version; telling the leader, who replaces it", "token", name, "version", version, "err", err)
		}
		for name, version := range s.view.Unmerged() {
			err := s.correct(ctx, token.Request{Kind: token.RequestFloor, Name: name, Version: version})
			s.log.Info("this replica serves a version of its own; telling the leader", "token", name, "version", version, "err", err)
		}
	}
	return nil
}

func (s *Store) correct(ctx context.Context, req token.Request) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := s.Ask(ctx, req)
	return err
}

// sync makes one proof: it reads the head linearizably, and waits for the view to have applied it.
func (s *Store) sync(ctx context.Context) error {
	cctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	known, sent := s.compass.known(), s.clock.Read()
	if s.view.Revision() == 0 {
		return nil // nothing is loaded yet that could be proved fresh
	}
	resp, err := s.client.Get(cctx, s.keys.head(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	found := course{Revision: resp.Header.Revision}
	if len(resp.Kvs) > 0 {
		found.Head, found.Puts = resp.Kvs[0].ModRevision, resp.Kvs[0].Version
	}
	head := found.Head
	switch back, err := s.compass.found(known, found); {
	case err != nil:
		return err
	case back:
		s.Reload()
		return errWentBack
	}
	deadline := time.NewTimer(catchUp)
	defer deadline.Stop()
	for {
		applied, moved := s.view.Applied(head)
		if applied {
			// gofail: var storeBeforeSynced struct{}
			s.view.Synced(sent, head)
			return nil
		}
		select {
		case <-moved:
		case <-deadline.C:
			_, err := s.load(ctx) // the watch lags or is dead: read instead
			if s.compass.known().Era != known.Era {
				s.Reload() // it may wait for a revision that is long to come
			}
			return err
		case <-cctx.Done():
			return cctx.Err()
		}
	}
}

// rest waits, and returns false if ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
