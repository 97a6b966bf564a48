package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// Namespace is the brokers' prefix in etcd, ElectionPrefix that of the election's keys, and TokenPrefix that of the tokens' records.
const (
	Namespace      = "/tokenbroker/"
	ElectionPrefix = Namespace + "election/"
	TokenPrefix    = Namespace + "token/"
)

// Site is everything that runs.
type Site struct {
	Brokers []*Broker
	Members []*Member
	// WeChat is the judge. Its clock is this process's.
	WeChat *wechattest.WeChat
	// Observed, if not nil, tells up to which revision of etcd those have seen everything who may miss nothing. It is set before
	// anything is compacted.
	Observed func() int64

	cfg     Config
	network *network
	trouble *trouble
}

// Start starts everything, and returns when each broker hands out every token. If that fails or ctx ends before, nothing is left
// running.
func Start(ctx context.Context, cfg Config) (*Site, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	for {
		s, err := start(ctx, cfg)
		// Somebody else was quicker to take a port that was free. All get new ones, but for the addresses that etcd keeps in mind.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "address already in use") {
			return s, err
		}
	}
}

func start(ctx context.Context, cfg Config) (*Site, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	s := &Site{cfg: cfg, trouble: new(trouble)}
	err := s.setUp()
	if err == nil {
		err = s.launch(ctx)
	}
	if err != nil {
		s.tearDown()
		return nil, fmt.Errorf("starting the site: %w", err)
	}
	return s, nil
}

// setUp makes everything but the processes.
func (s *Site) setUp() error {
	var err error
	if s.WeChat, err = s.cfg.weChat(); err != nil {
		return err
	}
	if s.network, err = newNetwork(s.cfg.Namespaces); err != nil {
		return err
	}
	for n := range s.cfg.Members {
		s.Members = append(s.Members, newMember(n+1))
	}
	if err := connectMembers(s.cfg, s.Members, s.network, s.trouble); err != nil {
		return err
	}
	shown, err := newPapers(s.cfg.Dir)
	if err != nil {
		return err
	}
	for n := range s.cfg.Brokers {
		b := newBroker(s.cfg.Dir, n+1)
		s.Brokers = append(s.Brokers, b)
		if err := b.connect(s.cfg, shown, s.Members, s.WeChat, s.network, s.trouble); err != nil {
			return err
		}
	}
	return nil
}

// launch starts the processes.
func (s *Site) launch(ctx context.Context) error {
	if err := s.startMembers(ctx); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, b := range s.Brokers {
		all.Go(func() error {
			if err := b.Start(ctx); err != nil {
				return err
			}
			return eventually(ctx, func(ctx context.Context) error {
				if !b.Running() {
					return finalError{fmt.Errorf("%s has ended:\n%s", b.ID, tail(b.Log, 0))}
				}
				return b.serves(ctx, s.cfg.Tokens)
			})
		})
	}
	return all.Wait()
}

// startMembers starts the members that do not run, and returns when all serve.
func (s *Site) startMembers(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, m := range s.Members {
		all.Go(func() error {
			if err := m.Start(ctx); err != nil {
				return err
			}
			return eventually(ctx, m.serves)
		})
	}
	return all.Wait()
}

// Close ends everything: the brokers by SIGTERM, after what was injected has been taken away. It returns what went wrong by itself at
// any time: a process that crashed, a broker that wrote of a panic or a data race, or did not end as told.
func (s *Site) Close() error {
	healed := s.unbreak()
	ctx, cancel := context.WithTimeout(context.Background(), StopTime)
	defer cancel()
	var all errgroup.Group
	for _, b := range s.Brokers {
		all.Go(func() error {
			_ = b.Stop(ctx) // trouble has it
			return nil
		})
	}
	_ = all.Wait()
	s.tearDown()
	for _, b := range s.Brokers {
		if err := search(b.Log); err != nil {
			s.trouble.add(err)
		}
	}
	return errors.Join(healed, s.Err())
}

// tearDown ends everything at once.
func (s *Site) tearDown() {
	if s.WeChat != nil {
		s.WeChat.ClearFaults() // a held request would keep an uplink from closing
	}
	for _, b := range s.Brokers {
		if b.Process != nil {
			_ = b.close() // it fails only where there is nothing to end
		}
		b.disconnect()
	}
	for _, m := range s.Members {
		if m.Process != nil {
			_ = m.close()
		}
	}
	for _, m := range s.Members {
		m.disconnect()
	}
	if s.network != nil {
		s.network.close()
	}
}

// Err returns what has gone wrong by itself so far: see Close. A run may end early for it.
func (s *Site) Err() error { return s.trouble.err() }

// Leader returns the broker that leads as etcd has it; nil if none stands for election, or etcd's first candidate is not proclaimed yet.
func (s *Site) Leader(ctx context.Context) (*Broker, error) {
	var resp *clientv3.GetResponse
	if err := s.ask(ctx, func(ctx context.Context, c *clientv3.Client) (err error) {
		resp, err = c.Get(ctx, ElectionPrefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend),
			clientv3.WithLimit(1))
		return err
	}); err != nil {
		return nil, fmt.Errorf("asking etcd for the leader: %w", err)
	}
	if len(resp.Kvs) == 0 || resp.Kvs[0].Version < 2 {
		return nil, nil
	}
	var value struct{ ID string }
	if err := json.Unmarshal(resp.Kvs[0].Value, &value); err != nil {
		return nil, fmt.Errorf("reading the election's key %s: %w", resp.Kvs[0].Key, err)
	}
	for _, b := range s.Brokers {
		if b.ID == value.ID {
			return b, nil
		}
	}
	return nil, fmt.Errorf("the leader in etcd, %q, is none of the brokers", value.ID)
}
