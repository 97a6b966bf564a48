package site

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// Heal undoes all that was injected: the network is whole, clocks are right, failpoints are off, WeChat has no faults and its accounts
// are as they were, stopped processes go on and dead ones run again, and etcd has no alarm. It returns when all members and
// brokers answer; that the brokers have found together again is for the caller to await.
func (s *Site) Heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	broken := s.unbreak()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		if err := s.startMembers(ctx); err != nil {
			return err
		}
		return s.FreeEtcd(ctx)
	})
	for _, b := range s.Brokers {
		all.Go(func() error {
			for _, name := range b.active() {
				if err := b.Failpoint(ctx, name, ""); err != nil && b.Running() {
					return err
				}
			}
			return b.Start(ctx)
		})
	}
	if err := errors.Join(broken, all.Wait()); err != nil {
		return fmt.Errorf("healing the site: %w", err)
	}
	return nil
}

// unbreak undoes what takes no waiting. It goes on where something fails.
func (s *Site) unbreak() error {
	var errs []error
	for _, m := range s.Members {
		m.Peers.Heal()
		errs = append(errs, m.Appear(), m.Resume())
	}
	for _, b := range s.Brokers {
		b.Etcd.Heal()
		errs = append(errs, b.Appear(), b.WeChat.Heal(), b.SetClock(0), b.Resume())
	}
	s.WeChat.ClearFaults()
	for _, t := range s.cfg.Tokens {
		password, refuse, whitelist := secret, 0, []string{}
		errs = append(errs, s.WeChat.SetAccount(t.AppID(), wechattest.Change{Secret: &password, Refuse: &refuse, Whitelist: &whitelist}))
	}
	return errors.Join(errs...)
}
