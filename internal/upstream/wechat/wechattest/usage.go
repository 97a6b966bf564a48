package wechattest

import "time"

// Shanghai is the time zone of WeChat's days. It has had no daylight saving since 1991.
var shanghai = time.FixedZone("CST", 8*60*60)

func dayOf(t time.Time) string { return t.In(shanghai).Format(time.DateOnly) }

// usage counts the calls of one account against its quotas.
type usage struct {
	day    string
	perDay map[Endpoint]int
	forced int

	minute int64
	perMin map[Endpoint]int

	month  string
	clears int

	forcedAt time.Time // of the last forced refresh that was done; survives midnight
}

// turn empties the counters whose time is over.
func (u *usage) turn(now time.Time) {
	if day := dayOf(now); u.day != day {
		u.day, u.perDay, u.forced = day, make(map[Endpoint]int), 0
	}
	if minute := now.Unix() / 60; u.minute != minute || u.perMin == nil {
		u.minute, u.perMin = minute, make(map[Endpoint]int)
	}
	if month := u.day[:len("2006-01")]; u.month != month {
		u.month, u.clears = month, 0
	}
}

// spend counts one fetch, or returns the errcode that refuses it.
func (u *usage) spend(q Quotas, endpoint Endpoint, now time.Time) int {
	u.turn(now)
	perDay, perMin := q.ClassicPerDay, q.ClassicPerMin
	if endpoint == Stable {
		perDay, perMin = q.StablePerDay, q.StablePerMin
	}
	if perDay >= 0 && u.perDay[endpoint] >= perDay {
		return 45009
	}
	if perMin >= 0 && u.perMin[endpoint] >= perMin {
		return 45011
	}
	u.perDay[endpoint]++
	u.perMin[endpoint]++
	return 0
}

// force counts one forced refresh and reports whether it may be done.
func (u *usage) force(q Quotas, now time.Time) bool {
	if q.ForcedPerDay >= 0 && u.forced >= q.ForcedPerDay {
		return false
	}
	if !u.forcedAt.IsZero() && now.Sub(u.forcedAt) < q.ForcedSpacing {
		return false
	}
	u.forced++
	u.forcedAt = now
	return true
}

// clear empties the day's counters, or returns the errcode that refuses it.
func (u *usage) clear(q Quotas, now time.Time) int {
	u.turn(now)
	if q.ClearsPerMonth >= 0 && u.clears >= q.ClearsPerMonth {
		return 48006
	}
	u.clears++
	clear(u.perDay)
	return 0
}
