package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errGone: the candidate's key is not what it was. Somebody deleted it, or etcd ended its lease.
var errGone = errors.New("the candidate's key is gone")

// candidacy is one key in the election. The smallest create revision leads.
type candidacy struct {
	client  *clientv3.Client
	cfg     Config
	session *session

	key      string
	revision int64 // create revision of key
}

// campaign enters the election, waits for its turn and returns the term won. ctx must end with the session's trust: a candidate that
// waits on after that could come out of the wait long after etcd has deleted its key. On an error the session must be closed, because
// the key may stand in etcd even if nobody was told so.
func campaign(ctx context.Context, client *clientv3.Client, cfg Config, s *session) (*candidacy, Term, error) {
	c := &candidacy{client: client, cfg: cfg, session: s, key: fmt.Sprintf("%s/%x", cfg.Prefix, s.lease)}
	if err := c.enter(ctx); err != nil {
		return nil, Term{}, fmt.Errorf("entering the election: %w", err)
	}
	if err := c.wait(ctx); err != nil {
		return nil, Term{}, fmt.Errorf("waiting for the lead: %w", err)
	}
	term, err := c.proclaim(ctx)
	if err != nil {
		return nil, Term{}, fmt.Errorf("taking the lead: %w", err)
	}
	return c, term, nil
}

func (c *candidacy) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.call())
	defer cancel()
	value, _, err := c.proclamation()
	if err != nil {
		return err
	}
	// The lease is new, so nobody else can have put this key. If somebody did, look and proclaim miss our revision.
	r, err := c.client.Put(ctx, c.key, value, clientv3.WithLease(c.session.lease))
	if err != nil {
		return err
	}
	c.revision = r.Header.Revision
	return nil
}

// wait returns when nobody is ahead of the candidate. That is a hint: proclaim proves it.
func (c *candidacy) wait(ctx context.Context) error {
	for {
		ahead, at, err := c.look(ctx)
		if err != nil {
			return err
		}
		if ahead == "" {
			return nil
		}
		if err := c.watch(ctx, at, ahead); err != nil {
			pause(ctx, c.cfg.retry())
		}
	}
}

// look reads the election linearizably and returns the key next ahead of the candidate's, "" if there is none, and the revision that it
// saw.
func (c *candidacy) look(ctx context.Context) (ahead string, at int64, err error) {
	cctx, cancel := context.WithTimeout(ctx, c.cfg.call())
	defer cancel()
	r, err := c.client.Get(cctx, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(2),
		clientv3.WithMaxCreateRev(c.revision), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	switch {
	case ctx.Err() != nil:
		return "", 0, context.Cause(ctx)
	case err != nil:
		return "", 0, err
	case len(r.Kvs) == 0 || string(r.Kvs[0].Key) != c.key || r.Kvs[0].CreateRevision != c.revision:
		return "", 0, errGone
	case len(r.Kvs) > 1:
		ahead = string(r.Kvs[1].Key)
	}
	return ahead, r.Header.Revision, nil
}

// watch returns nil when the candidate's key or the one ahead was deleted after the given revision, or a TTL has passed: watches can
// fall silent, so nobody relies on them for longer. Any error means the same to the caller: look again, but not at once.
func (c *candidacy) watch(ctx context.Context, after int64, ahead string) error {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), c.cfg.TTL)
	defer cancel()
	for r := range c.client.Watch(ctx, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithFilterPut()) {
		for _, e := range r.Events {
			if key := string(e.Kv.Key); key == c.key || key == ahead {
				return nil
			}
		}
		if err := r.Err(); err != nil {
			return err
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return errors.New("the watch ended")
}

// proclaim takes the lead in one transaction, which proves that the key is the one that entered the election, that nobody is ahead of
// it, and that the lease lives: etcd would refuse to put a key on another.
func (c *candidacy) proclaim(ctx context.Context) (Term, error) {
	cctx, cancel := context.WithTimeout(ctx, c.cfg.call())
	defer cancel()
	value, since, err := c.proclamation()
	if err != nil {
		return Term{}, err
	}
	// gofail: var leaderBeforeProclaim struct{}
	r, err := c.client.Txn(cctx).
		If(clientv3.Compare(clientv3.CreateRevision(c.key), "=", c.revision),
			clientv3.Compare(clientv3.CreateRevision(c.cfg.Prefix+"/"), ">", c.revision-1).WithPrefix()).
		Then(clientv3.OpPut(c.key, value, clientv3.WithLease(c.session.lease))).
		Commit()
	switch {
	case ctx.Err() != nil:
		return Term{}, context.Cause(ctx)
	case err != nil:
		return Term{}, err
	case !r.Succeeded:
		return Term{}, errGone
	}
	return Term{Key: c.key, Revision: c.revision, Since: since}, nil
}

// guard ends the session's trust when the leader's key disappears although its lease lives: somebody has deleted it, or etcd ended the
// lease early. Nothing else tells the leader before its next keep-alive; of a mere deletion, nothing ever. It returns when ctx ends.
func (c *candidacy) guard(ctx context.Context) {
	after := c.revision
	for ctx.Err() == nil {
		err := c.watch(ctx, after, "")
		if err == nil {
			_, after, err = c.look(ctx)
		}
		if errors.Is(err, errGone) {
			c.session.lose(fmt.Errorf("%w: %w", ErrTrustLost, err))
			return
		}
		if err != nil {
			pause(ctx, c.cfg.retry())
		}
	}
}

// proclamation returns the value to put, and its Since.
func (c *candidacy) proclamation() (string, time.Time, error) {
	since := c.cfg.Clock.Wall().UTC().Truncate(time.Millisecond)
	value, err := json.Marshal(Proclamation{ID: c.cfg.ID, Address: c.cfg.Address, Since: since, Labels: c.cfg.Labels})
	return string(value), since, err
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
