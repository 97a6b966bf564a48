package main

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// catalog is the set of tokens that is configured now, with the refresher of each. The supervisor takes its work from it, and the
// server asks it when tokens are fetched next. It is safe for concurrent use.
type catalog struct {
	view  *view.View
	clock *clock.Clock
	// template is the part of a refresher's configuration that all tokens share.
	template refresh.Config

	mu      sync.Mutex // held for no longer than a computation
	items   map[string]item
	changed chan struct{} // closed when items is replaced
}

// item is one token.
type item struct {
	config tokenConfig
	// refresher is the same for as long as nothing about the token changes; the supervisor replaces the worker when it is not.
	refresher *refresh.Refresher
}

func newCatalog(v *view.View, c *clock.Clock, template refresh.Config) *catalog {
	return &catalog{view: v, clock: c, template: template, changed: make(chan struct{})}
}

// changes says what a configuration did to the set of tokens: names, sorted.
type changes struct{ added, changed, removed []string }

func (c changes) none() bool { return len(c.added)+len(c.changed)+len(c.removed) == 0 }

// configure replaces the set of tokens. What is not changed is left alone: its refresher goes on. After an error everything is as
// before. The caller must have the store loaded anew afterwards, so that new tokens find their records. Not to be called twice at
// once.
func (c *catalog) configure(tokens []tokenConfig) (changes, error) {
	c.mu.Lock()
	old := c.items
	c.mu.Unlock()

	var diff changes
	next := make(map[string]item, len(tokens))
	specs := make([]view.Spec, len(tokens))
	for i, t := range tokens {
		before, had := old[t.Name]
		switch {
		case !had:
			diff.added = append(diff.added, t.Name)
		case t.alike(before.config):
			next[t.Name] = before
		default:
			diff.changed = append(diff.changed, t.Name)
		}
		if _, kept := next[t.Name]; !kept {
			refresher, err := c.refresher(t)
			if err != nil {
				return changes{}, fmt.Errorf("configuring token %q: %w", t.Name, err)
			}
			next[t.Name] = item{config: t, refresher: refresher}
		}
		specs[i] = view.Spec{Name: t.Name, Traits: next[t.Name].refresher.Traits(), Timing: next[t.Name].config.Timing}
	}
	for name := range old {
		if _, stays := next[name]; !stays {
			diff.removed = append(diff.removed, name)
		}
	}
	slices.Sort(diff.removed)
	if err := c.view.Configure(specs); err != nil {
		return changes{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = next
	close(c.changed)
	c.changed = make(chan struct{})
	return diff, nil
}

// refresher makes the refresher of a token. It starts nothing.
func (c *catalog) refresher(t tokenConfig) (*refresh.Refresher, error) {
	t.WeChat.Now = c.clock.Wall
	client, err := wechat.New(t.WeChat)
	if err != nil {
		return nil, err
	}
	cfg := c.template
	cfg.Name, cfg.Upstream, cfg.Policy, cfg.Timing, cfg.Lives = t.Name, client, t.Policy, t.Timing, lives{c.view, t.Name}
	return refresh.New(cfg)
}

// lives is what the view knows of a token. It looks the token up each time, because a reload may replace it in the view while its
// refresher stays.
type lives struct {
	view *view.View
	name string
}

// NominalEnd implements refresh.Lives.
func (l lives) NominalEnd(version int64) (clock.Instant, bool) {
	if t := l.view.Token(l.name); t != nil {
		return t.NominalEnd(version)
	}
	return 0, false
}

// Version implements refresh.Lives.
func (l lives) Version() int64 {
	if t := l.view.Token(l.name); t != nil {
		return t.Version()
	}
	return 0
}

// Local implements refresh.Lives.
func (l lives) Local() int64 {
	if t := l.view.Token(l.name); t != nil {
		return t.Local()
	}
	return 0
}

// alike reports whether both configurations make the same refresher, wherever the secret is written.
func (t tokenConfig) alike(other tokenConfig) bool {
	t.SecretFrom, other.SecretFrom = "", ""
	return reflect.DeepEqual(t, other)
}

// refreshers returns the present refreshers by name, and a channel that is closed when they change.
func (c *catalog) refreshers() (map[string]*refresh.Refresher, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]*refresh.Refresher, len(c.items))
	for name, it := range c.items {
		all[name] = it.refresher
	}
	return all, c.changed
}

// Plan implements server.Planner. Every replica computes the same from its record, so that all can tell without asking the leader;
// back-off is known to the leader alone and left out.
func (c *catalog) Plan(name string, leader *server.Candidate) server.Plan {
	c.mu.Lock()
	it, ok := c.items[name]
	c.mu.Unlock()
	t := c.view.Token(name)
	if !ok || t == nil {
		return server.Plan{}
	}
	policy, traits, timing := it.refresher.Policy(), it.refresher.Traits(), it.config.Timing
	r, wall := t.Read(), c.clock.Wall()
	in, why := policy.Due(*r.Record, traits, wall, r.Nominal)
	plan := server.Plan{
		Next: wall.Add(in), Reason: why, DailyBudget: policy.DailyBudget,
		UnderWay: refresh.UnderWay(*r.Record, timing, wall),
	}
	if leader != nil {
		plan.Quiet = refresh.QuietUntil(*r.Record, traits, timing, leader.Since, wall)
	}
	return plan
}
