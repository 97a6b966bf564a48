package site

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ask asks one member after the other until one answers or ctx ends: any of them may be paused or cut off.
func (s *Site) ask(ctx context.Context, question func(context.Context, *clientv3.Client) error) error {
	next := 0
	return eventually(ctx, func(ctx context.Context) error {
		m := s.Members[next%len(s.Members)]
		next++
		if !m.Running() || m.paused() {
			return fmt.Errorf("%s: %w", m.Name, ErrNotRunning)
		}
		if err := question(ctx, m.client); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		return nil
	})
}

// EtcdLeader returns the member that leads the others, waiting for one to be elected.
func (s *Site) EtcdLeader(ctx context.Context) (*Member, error) {
	var leader *Member
	if err := eventually(ctx, func(ctx context.Context) error {
		if leader = s.etcdLeader(ctx); leader == nil {
			return errors.New("there is none")
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("looking for etcd's leader: %w", err)
	}
	return leader, nil
}

// etcdLeader returns the member that says of itself that it leads, in the highest term if two do: one that was cut off does so for
// a while. It is nil if none does.
func (s *Site) etcdLeader(ctx context.Context) *Member {
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		leader *Member
		term   uint64
	)
	for _, m := range s.Members {
		if !m.Running() || m.paused() {
			continue
		}
		all.Go(func() {
			status, err := m.client.Status(ctx, m.Endpoint)
			if err != nil || status.Leader != status.Header.GetMemberId() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if leader == nil || status.RaftTerm > term {
				leader, term = m, status.RaftTerm
			}
		})
	}
	all.Wait()
	return leader
}

// MoveEtcdLeader hands etcd's leadership to a member, and returns when that leads.
func (s *Site) MoveEtcdLeader(ctx context.Context, to *Member) error {
	if err := eventually(ctx, func(ctx context.Context) error {
		leader := s.etcdLeader(ctx)
		switch leader {
		case to:
			return nil
		case nil:
			return errors.New("there is no leader")
		}
		status, err := to.client.Status(ctx, to.Endpoint)
		if err != nil {
			return err
		}
		if _, err := leader.client.MoveLeader(ctx, status.Header.GetMemberId()); err != nil {
			return err
		}
		return errors.New("it has not taken over yet")
	}); err != nil {
		return fmt.Errorf("handing etcd's leadership to %s: %w", to.Name, err)
	}
	return nil
}

// Compact has etcd forget its history before now, as far as it is Observed: watches that lag behind break.
func (s *Site) Compact(ctx context.Context) error {
	if err := s.ask(ctx, func(ctx context.Context, c *clientv3.Client) error {
		newest, err := c.Get(ctx, Namespace, clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		revision := newest.Header.GetRevision()
		if s.Observed != nil {
			revision = min(revision, s.Observed())
		}
		if _, err = c.Compact(ctx, revision); errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		return err
	}); err != nil {
		return fmt.Errorf("compacting etcd: %w", err)
	}
	return nil
}

// FillEtcd brings etcd into the state in which its space is used up: it raises the alarm that it raises when a member's database has
// reached its quota, and refuses writes and new leases until FreeEtcd.
func (s *Site) FillEtcd(ctx context.Context) error {
	if err := s.ask(ctx, func(ctx context.Context, c *clientv3.Client) error {
		status, err := c.Status(ctx, c.Endpoints()[0])
		if err != nil {
			return err
		}
		_, err = etcdserverpb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, &etcdserverpb.AlarmRequest{
			Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_NOSPACE, MemberID: status.Header.GetMemberId(),
		})
		return err
	}); err != nil {
		return fmt.Errorf("raising etcd's alarm: %w", err)
	}
	return nil
}

// FreeEtcd ends all alarms of etcd.
func (s *Site) FreeEtcd(ctx context.Context) error {
	if err := s.ask(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.AlarmDisarm(ctx, new(clientv3.AlarmMember))
		return err
	}); err != nil {
		return fmt.Errorf("clearing etcd's alarms: %w", err)
	}
	return nil
}
