package wechattest_test

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appid  = "wx0123456789abcdef"
	secret = "0123456789abcdef0123456789abcdef"
)

// fakeClock is a clock that stands still.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newWeChat returns a simulation with one account, at noon in Shanghai.
func newWeChat(t *testing.T, cfg wechattest.Config) (*wechattest.WeChat, *fakeClock) {
	t.Helper()
	clock := &fakeClock{now: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)}
	cfg.Now = clock.read
	if cfg.Accounts == nil {
		cfg.Accounts = []wechattest.Account{{AppID: appid, Secret: secret}}
	}
	w, err := wechattest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w, clock
}
