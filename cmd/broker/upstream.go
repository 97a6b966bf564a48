package main

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func (c wechatConfig) traits() token.Traits {
	t := token.Traits{Kind: "wechat stable", Ahead: 4 * time.Minute, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, FetchesPerDay: 500000, Calendar: time.FixedZone("Asia/Shanghai", 8*3600)}
	if c.Classic {
		t.Kind, t.Rotating, t.FetchesPerDay, t.Ahead = "wechat classic", true, 2000, 30*time.Minute
	}
	if c.Overlap > 0 {
		t.Overlap = c.Overlap
	}
	if c.MaxLife > 0 {
		t.MaxLife = c.MaxLife
	}
	return t
}
