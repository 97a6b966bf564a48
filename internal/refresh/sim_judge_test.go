package refresh_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// The tokens of the simulations; the names are the simulated WeChat's app ids too.
const (
	classic = "classic"
	stable  = "stable"
)

// judge keeps what callers were promised, and asks the simulated WeChat whether it was true.
type judge struct {
	life, overlap time.Duration
	wechat        *wechattest.WeChat

	mu       sync.Mutex
	promised map[string]promise // by value: the longest
	excused  map[string]bool
}

type promise struct {
	until time.Time
	by    string
	at    time.Time
	ttl   time.Duration
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	accounts := []wechattest.Account{{AppID: classic, Secret: "s"}, {AppID: stable, Secret: "s"}}
	for i := range 20 {
		accounts = append(accounts, wechattest.Account{AppID: fmt.Sprintf("other%d", i), Secret: "s"})
	}
	j := &judge{life: 2 * time.Hour, overlap: 5 * time.Minute, promised: map[string]promise{}, excused: map[string]bool{}}
	var err error
	j.wechat, err = wechattest.New(wechattest.Config{
		Accounts:  accounts,
		TokenLife: j.life, Overlap: j.overlap, Now: time.Now, MinTokenSize: 16, MaxTokenSize: 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *judge) rotates(name string) bool { return name == classic }

// issue processes one fetch.
func (j *judge) issue(name string, force bool) (string, time.Duration) {
	fetch := func() (wechattest.Grant, error) { return j.wechat.IssueStable(name, force) }
	if j.rotates(name) {
		fetch = func() (wechattest.Grant, error) { return j.wechat.IssueClassic(name) }
	}
	grant, err := fetch()
	if err != nil {
		panic(fmt.Sprintf("the simulated WeChat refuses %s: %v", name, err))
	}
	return grant.Token, time.Duration(grant.ExpiresIn) * time.Second
}

// issues counts the tokens that were issued.
func (j *judge) issues() int { return len(j.wechat.History()) }

func (j *judge) aliveAt(value string, at time.Time) bool { return j.wechat.AliveAt(value, at) }

// promise keeps what a caller was told.
func (j *judge) promise(value, by string, ttl time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if p := (promise{until: now.Add(ttl), by: by, at: now, ttl: ttl}); p.until.After(j.promised[value].until) {
		j.promised[value] = p
	}
}

// excuse forgives promises on a value that rest on a non-guarantee.
func (j *judge) excuse(value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.excused[value] = true
}

// forget drops what was promised on a value so far; what is promised from now on counts.
func (j *judge) forget(value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.promised, value)
}

// verdict fails the test for every promise that was broken, or will be (S1).
func (j *judge) verdict(t *testing.T) {
	t.Helper()
	for _, broken := range j.broken() {
		t.Errorf("S1: %s", broken)
	}
}

func (j *judge) broken() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for value, p := range j.promised {
		dies, known := j.wechat.DiesAt(value)
		if !j.excused[value] && (!known || dies.Before(p.until)) {
			out = append(out, fmt.Sprintf("%s promised a token at %s for %v, but it died %v before the end",
				p.by, p.at.Format(time.DateTime), p.ttl, p.until.Sub(dies)))
		}
	}
	return out
}
