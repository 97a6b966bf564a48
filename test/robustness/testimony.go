package main

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// Patience of the judge: with what is judged while the run goes on, and with all of it.
const (
	hastyPatience = 3 * time.Second
	finalPatience = 2 * time.Minute
)

// testify returns what is known so far, for the judge. Unless the run is over, faults that stand count as healed now.
func (r *run) testify(over bool) judge.Case {
	c := judge.Case{SessionTTL: sessionTTL, Patience: finalPatience}
	// WeChat's account first: whatever is in the history then was there before.
	for _, t := range tokens() {
		c.Tokens = append(c.Tokens, judge.Token{
			Name: t.Name, Rotating: t.Endpoint == wechattest.Classic, Life: tokenLife, Overlap: overlap, Ahead: ahead(t),
			DailyBudget: dailyBudget, Requests: r.site.WeChat.Requests(t.Endpoint),
		})
	}
	c.Events = slices.Clone(r.recorder.Events())
	if !over {
		c.Patience = hastyPatience
		for _, s := range r.storms {
			c.Events = append(c.Events, s.Standing()...)
		}
	}
	// The judge knows brokers only, not the members of etcd.
	c.Events = slices.DeleteFunc(c.Events, func(e history.Event) bool { return e.Kind == history.Process && e.Replica == "" })
	c.Issued = r.issued()
	for _, b := range r.site.Brokers {
		c.Replicas = append(c.Replicas, b.ID)
	}
	return c
}

// issued is WeChat's record of what it issued, in the terms of the history.
func (r *run) issued() []history.Issued {
	names, replicas := map[string]string{}, map[string]string{}
	for _, t := range tokens() {
		names[t.AppID()] = t.Name
	}
	for _, b := range r.site.Brokers {
		replicas[b.Address] = b.ID
	}
	var all []history.Issued
	for _, t := range r.site.WeChat.History() {
		all = append(all, history.Issued{
			Value: t.Token, Token: names[t.AppID], From: r.recorder.At(t.From), Until: r.recorder.At(t.Until), Ends: r.recorder.At(t.Ends),
			Replica: replicas[t.Client], Forced: t.Forced, Foreign: t.Foreign, Killed: r.scene.Killed(t.Token),
		})
	}
	return all
}
