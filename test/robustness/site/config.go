package site

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Config says what a site consists of.
type Config struct {
	// Dir is an existing folder for data, configurations and logs. They stay there.
	Dir string
	// Broker and Etcd are the paths of the programs. Broker is a test build, or any broker where no clock is bent and no failpoint
	// used.
	Broker, Etcd string
	// History gets an event for each start and end of a process.
	History *history.Recorder
	// Seed drives the simulated WeChat.
	Seed uint64
	// Brokers and Members are how many there are; default 3 each.
	Brokers, Members int
	// SessionTTL is the brokers' election.session_ttl; default 2 s, the shortest that the configuration allows.
	SessionTTL time.Duration
	// TokenLife and Overlap are those of every token that WeChat issues, and are told to the brokers. Whole seconds. Default 60 s and
	// 10 s.
	TokenLife, Overlap time.Duration
	// Quotas are WeChat's. Zero is unlimited here, but for ForcedSpacing.
	Quotas wechattest.Quotas
	Tokens []Token
	// Extra is further YAML at the top level of the brokers' configuration. $DIR is replaced by Dir, $ID by the broker's id:
	// "snapshot: {file: $DIR/$ID.snapshot}\n".
	Extra string
}

// Token is one token that the brokers keep alive. It has an account of its own at WeChat.
type Token struct {
	Name string
	// Endpoint is wechattest.Stable or wechattest.Classic.
	Endpoint wechattest.Endpoint
	// Extra is further settings of the token, as entries of a YAML flow mapping: "ahead: 20s, verify: {every: 10s}".
	Extra string
}

// AppID is the id of the token's account at WeChat.
func (t Token) AppID() string { return "wx-" + t.Name }
