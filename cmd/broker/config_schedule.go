package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// policy reads when to fetch, and checks it against what the upstream does. The relations are those of refresh.Policy.Complete, which
// has the last word; they are checked here too for the sake of messages that name the line.
func (s *section) policy(t tokenConfig) refresh.Policy {
	var p refresh.Policy
	traits, timing := t.Traits, t.Timing
	ahead, budget, reserve := s.get("ahead"), s.get("daily_budget"), s.get("reserve")
	p.Ahead = ahead.duration(0, time.Second, 0)
	switch {
	case p.Ahead == 0:
	case p.Ahead >= traits.MaxLife:
		ahead.fail(fmt.Sprintf("%s is not less than a token's life, %s", short(p.Ahead), short(traits.MaxLife)), "write less")
	case traits.Rotating && p.Ahead < timing.LeastAhead():
		ahead.fail(fmt.Sprintf("%s is too short: a fetch whose answer is lost must be repeated in time", short(p.Ahead)),
			fmt.Sprintf("write at least %s", short(timing.LeastAhead())))
	case !traits.Rotating && p.Ahead > traits.Overlap:
		ahead.warn(fmt.Sprintf("before its last %s WeChat answers with the same token", short(traits.Overlap)), "leave it out, or write at most that")
	}
	p.DailyBudget, p.Reserve = budget.count(0, 1), reserve.count(0, 1)
	limit := p.DailyBudget
	if limit == 0 {
		limit = traits.FetchesPerDay
	}
	if p.Reserve >= limit {
		reserve.fail(fmt.Sprintf("%d is not less than the daily budget, %d", p.Reserve, limit), "leave a part of the budget for the schedule")
		p.Reserve = 0
	}
	if traits.Rotating && limit > traits.FetchesPerDay {
		budget.warn(fmt.Sprintf("WeChat allows %d fetches a day", traits.FetchesPerDay), "write at most that")
	}
	p.TrustReports = !s.get("verify_reports").boolean(true)
	p.Verify = s.section("verify").verify(traits)
	scheduled := limit - limit/10
	if p.Reserve > 0 {
		scheduled = limit - p.Reserve
	}
	for _, item := range s.get("refresh").items() {
		if rule, ok := item.section().rule(traits, cmp.Or(p.Ahead, traits.Ahead), scheduled); ok {
			p.Rules = append(p.Rules, rule)
		}
	}
	if len(s.problems) > 0 {
		return p // Complete would repeat what is said above
	}
	complete, err := p.Complete(traits, timing)
	if err != nil {
		s.fail(err.Error(), "change what is named there")
	}
	return complete
}

// verify reads how often WeChat is asked whether the token lives; 0 for never.
func (s *section) verify(traits token.Traits) time.Duration {
	every := s.get("every")
	defer s.end()
	if s.broken || !s.present {
		return 0
	}
	if len(s.keys) == 0 || !every.given {
		s.fail("it is not said how often", "write every: 60s")
		return 0
	}
	d := every.duration(0, refresh.LeastVerify, time.Hour)
	if d > 0 && int64(24*time.Hour/d) > traits.FetchesPerDay {
		every.warn(fmt.Sprintf("%d questions a day are more than the %d calls of one kind that an account may count on", 24*time.Hour/d, traits.FetchesPerDay),
			"write a longer interval, such as 60s")
	}
	return d
}

// rule reads one element of refresh, for a token that is fetched ahead of its end in any case. scheduled is how many fetches a day are
// not reserved.
func (s *section) rule(traits token.Traits, ahead time.Duration, scheduled int64) (refresh.Rule, bool) {
	every, expr, in := s.get("every"), s.get("cron"), s.get("time_zone")
	defer s.end()
	switch {
	case s.broken:
	case every.given && expr.given:
		s.fail("both every and cron are given", "make two elements of it: the earliest wins")
	case every.given && in.given:
		in.fail("an interval has no time zone", "take it away")
	case every.given:
		d := every.duration(0, time.Second, 0)
		switch {
		case d == 0:
		case d >= traits.MaxLife-ahead:
			every.warn(fmt.Sprintf("it is never the earliest: the next fetch is due %s after the last, ahead of the token's end", short(traits.MaxLife-ahead)),
				"take it away, or write less")
		case int64(24*time.Hour/d) > scheduled:
			every.warn(fmt.Sprintf("%d fetches a day are more than the daily budget less its reserve, %d", 24*time.Hour/d, scheduled),
				"write a longer interval")
		case !traits.Rotating:
			every.idle(traits)
		}
		return refresh.Rule{Every: d, Text: fmt.Sprintf("every %v", d)}, d > 0
	case expr.given:
		rule, ok := expr.calendar(in, traits.Calendar)
		if ok && !traits.Rotating {
			expr.idle(traits)
		}
		return rule, ok
	case len(s.keys) == 0:
		s.fail("this element says nothing", "write every: 1h, or cron: \"0 30 2 * * *\"")
	default:
		s.fail("neither every nor cron is given", "write every: 1h, or cron: \"0 30 2 * * *\"")
	}
	return refresh.Rule{}, false
}

// idle warns of a rule for an upstream that answers with the same token until its end is near.
func (v value) idle(traits token.Traits) {
	v.warn(fmt.Sprintf("before a token's last %s WeChat's stable endpoint answers with the same one: this spends budget and changes nothing", short(traits.Overlap)),
		"take it away; rules are for mode: classic")
}

// sixFields reads second, minute, hour, day of month, month and day of week. When both days are restricted either may match, as in
// every other cron.
var sixFields = cron.MustNewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)

// calendar reads a cron expression. Its time zone is the upstream's own by default, so that it does not depend on the machine.
func (v value) calendar(in value, zone *time.Location) (refresh.Rule, bool) {
	text, ok := v.scalar()
	if !ok {
		return refresh.Rule{}, false
	}
	fields := strings.Fields(text)
	if len(fields) != 6 || strings.Contains(text, "=") {
		v.fail(quote(text)+" has not the six fields: second, minute, hour, day, month, weekday",
			"write, for instance, \"0 30 2 * * *\" for half past two")
		return refresh.Rule{}, false
	}
	schedule, err := sixFields.Parse(text)
	if err != nil {
		v.fail(quote(text)+" cannot be understood: "+err.Error(), "the fields are second, minute, hour, day, month, weekday")
		return refresh.Rule{}, false
	}
	label := "cron " + strings.Join(fields, " ")
	if name, ok := in.scalar(); ok {
		if zone, err = time.LoadLocation(name); err != nil || name == "" {
			in.fail(quote(name)+" is not a time zone", "write a name of the IANA database, such as Asia/Shanghai or UTC")
			return refresh.Rule{}, false
		}
	}
	c := calendar{schedule, zone}
	if c.Next(time.Now()).IsZero() {
		v.fail(quote(text)+" names a moment that never comes", "does the day occur in that month?")
		return refresh.Rule{}, false
	}
	return refresh.Rule{Calendar: c, Text: label + " " + zone.String()}, true
}

// calendar is a cron schedule on the clocks of one time zone.
type calendar struct {
	schedule cron.Schedule
	zone     *time.Location
}

// Next implements refresh.Calendar.
func (c calendar) Next(t time.Time) time.Time { return c.schedule.Next(t.In(c.zone)) }
