package main

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// The site of a run. Lives are short, so that a run of minutes sees many tokens; the broker's own constants follow the overlap: W is
// 8 s, G 1 s, P and D 2 s. Shorter ones would take a busy machine's pauses for faults.
const (
	tokenLife  = 80 * time.Second
	overlap    = 10 * time.Second
	sessionTTL = 3 * time.Second
	// classicAhead has a rotating token fetched about every 33 s. It is longer than the 30 s by which a replica that has just started takes
	// a token's end to be earlier, because it counts by wall clocks.
	classicAhead = 45 * time.Second
	dailyBudget  = 2000
	// WeChat's own limit of forced refreshes; all other quotas are off.
	forcedPerDay = 20
)

// How busy everybody is.
const (
	callersEach = 2
	callPace    = 150 * time.Millisecond
	errandPace  = 3 * time.Second
	warmUp      = 3 * time.Second
	longestCalm = 25 * time.Second
	huntingCalm = 3 * time.Second
	afterwards  = 5 * time.Second // how long everybody goes on when all is well again
)

func tokens() []site.Token {
	return []site.Token{
		{Name: "stable", Endpoint: wechattest.Stable, Extra: "verify: {every: 10s}"},
		{Name: "classic", Endpoint: wechattest.Classic, Extra: "ahead: " + classicAhead.String()},
	}
}

// furtherSettings are those of the brokers: what they hold outlives a restart while etcd is away.
const furtherSettings = "snapshot: {file: $DIR/$ID.snapshot}\n"

func times() fault.Times {
	return fault.Times{Protocol: token.TimingFor(overlap), Life: tokenLife, Overlap: overlap, SessionTTL: sessionTTL}
}

// ahead is the remaining life at which a fetch of a token is due; 0 for the broker's default.
func ahead(t site.Token) time.Duration {
	if t.Endpoint == wechattest.Classic {
		return classicAhead
	}
	return 0
}

func quotas() wechattest.Quotas { return wechattest.Quotas{ForcedPerDay: forcedPerDay} }

// promise is the longest life that is ever promised for a token.
func promise(t site.Token) time.Duration {
	if t.Endpoint == wechattest.Classic {
		return token.TimingFor(overlap).W
	}
	return tokenLife
}
