package site

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// ElectionPrefix is the prefix of the election's keys in etcd, and TokenPrefix that of the tokens' records.
const (
	ElectionPrefix = "/tokenbroker/election/"
	TokenPrefix    = "/tokenbroker/token/"
)

// Site is everything that runs.
type Site struct {
	Brokers []*Broker
	Members []*Member
	// WeChat is the judge. Its clock is this process's.
	WeChat *wechattest.WeChat
}

// Start starts everything, and returns when each broker hands out every token. If that fails or ctx ends before, nothing is left
// running.
func Start(ctx context.Context, cfg Config) (*Site, error) { panic("being written") }

// Close ends everything: the brokers by SIGTERM, after what was injected has been taken away. It returns what went wrong by itself at
// any time: a process that crashed, a broker that wrote of a panic or a data race, or did not end as told.
func (s *Site) Close() error { panic("being written") }

// Err returns what has gone wrong by itself so far: see Close. A run may end early for it.
func (s *Site) Err() error { panic("being written") }

// Heal undoes all that was injected: the network is whole, clocks are right, failpoints are off, WeChat has no faults and its accounts
// are as they were, stopped processes go on and dead ones run again, and etcd has room and no alarm. It returns when all members and
// brokers answer; that the brokers have found together again is for the caller to await.
func (s *Site) Heal(ctx context.Context) error { panic("being written") }

// Endpoints returns the members' own URLs, past all proxies.
func (s *Site) Endpoints() []string { panic("being written") }

// Client returns the suite's own client of etcd, past all proxies. It ends with the site.
func (s *Site) Client() *clientv3.Client { panic("being written") }

// Leader returns the broker that leads as etcd has it; nil if none stands for election, or etcd's first candidate is not proclaimed yet.
func (s *Site) Leader(ctx context.Context) (*Broker, error) { panic("being written") }

// EtcdLeader returns the member that leads the others, waiting for one to be elected.
func (s *Site) EtcdLeader(ctx context.Context) (*Member, error) { panic("being written") }

// MoveEtcdLeader hands etcd's leadership to a member, and returns when that leads.
func (s *Site) MoveEtcdLeader(ctx context.Context, to *Member) error { panic("being written") }

// Compact forgets all of etcd's history before now: watches that lag break.
func (s *Site) Compact(ctx context.Context) error { panic("being written") }

// FillEtcd writes to etcd, outside of the brokers' keys, until it raises its alarm that there is no space left, and refuses writes.
func (s *Site) FillEtcd(ctx context.Context) error { panic("being written") }

// FreeEtcd takes away what FillEtcd wrote, gives the space back, and clears the alarm. All members must run.
func (s *Site) FreeEtcd(ctx context.Context) error { panic("being written") }
