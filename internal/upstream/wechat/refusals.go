package wechat

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

// Codes that the package acts on itself.
const (
	codeBusy         = -1
	codeInvalid      = 40001
	codeUnknownToken = 40014
	codeExpired      = 42001
	codeDailyQuota   = 45009
)

// where is the kind of call that a code was the answer to: some codes mean another thing in each.
type where int

const (
	fetching where = 1 << iota // /cgi-bin/token and /cgi-bin/stable_token
	calling                    // business calls, such as the probe's
)

// refusal says what a code means. Whoever fetches and gets a code of this table has for certain not been issued a token, but for
// unsure ones.
type refusal struct {
	code    int64
	on      where
	class   token.Class
	unsure  bool
	meaning string
	// remedy may contain "{address}", which becomes the address that WeChat names.
	remedy string
	wait   time.Duration
}

const (
	credentialsRemedy = "Compare appid and secret with the account's developer settings (基本配置). If the secret was reset, give the " +
		"new one to every replica."
	whitelistRemedy = "Add {address} to the account's IP whitelist (IP白名单). Every replica's address must be in it, or all replicas " +
		"must share one NAT address: a failover changes which of them asks."
	confirmRemedy = "An administrator of the account must confirm calls from {address} in the message that WeChat sent to them."
	refusedRemedy = "An administrator of the account refused calls from {address}. Find out why; if it is yours, add it to the IP " +
		"whitelist (IP白名单)."
	dailyRemedy = "It is filled up at midnight in China; clear_quota/v2 does it at once, 10 times a month. Find out who else fetches " +
		"with this AppID."
	minuteRemedy    = "If it comes back, find out who else fetches with this AppID."
	malformedRemedy = "This is a fault of the broker or of what stands between it and WeChat. Please report it with the request id (rid)."
	neverRemedy     = "A new token does not help. See the account's permissions in its developer settings."
)

// refusals is the table of all codes that are documented for fetching and of those that a probe may meet. Each line's source is
// WeChat's documentation of that call.
var refusals = []refusal{ // code, answer to what, class, unsure, meaning, remedy, how long to wait
	{codeBusy, fetching | calling, token.Transient, true, "WeChat is busy", "", 0},

	{codeInvalid, fetching, token.Human, false, "the AppSecret is wrong", credentialsRemedy, 0},
	{40013, fetching, token.Human, false, "the AppID is wrong", credentialsRemedy, 0},
	{40125, fetching, token.Human, false, "the AppSecret is wrong", credentialsRemedy, 0},
	{40243, fetching, token.Human, false, "the AppSecret is frozen",
		"Unfreeze it in the account's developer settings; that takes effect after 10 minutes.", 0},
	{50004, fetching, token.Human, false, "the account may not use this call",
		"Ask WeChat's support why the account's calls are forbidden.", 0},
	{50007, fetching, token.Human, false, "the account is frozen", "Have the account unfrozen by WeChat.", 0},
	{61024, fetching, token.Human, false, "only a third-party platform may fetch this account's token",
		"The account is run through a third-party platform: its token must come from there and not from its own AppSecret.", 0},

	{40164, fetching, token.Address, false, "the address that asks is not in the IP whitelist", whitelistRemedy, 0},
	{61004, fetching, token.Address, false, "the address that asks is not in the IP whitelist", whitelistRemedy, 0},
	{89501, fetching, token.Address, false, "the address that asks awaits an administrator's confirmation", confirmRemedy, time.Minute},
	{89503, fetching, token.Address, false, "the address that asks needs an administrator's confirmation", confirmRemedy, time.Minute},
	{89507, fetching, token.Blocked, false, "the address that asks is blocked for 1 hour: an administrator refused it",
		refusedRemedy, time.Hour},
	{89506, fetching, token.Blocked, false, "the address that asks is blocked for 24 hours: an administrator refused it twice",
		refusedRemedy, 24 * time.Hour},

	{codeDailyQuota, fetching | calling, token.DailyQuota, false, "the daily quota of this call is used up", dailyRemedy, 0},
	{45011, fetching | calling, token.MinuteQuota, false, "too many calls in a minute", minuteRemedy, time.Minute},

	{40002, fetching, token.Bug, false, "grant_type is invalid", malformedRemedy, 0},
	{41002, fetching, token.Bug, false, "the appid is missing", malformedRemedy, 0},
	{41004, fetching, token.Bug, false, "the secret is missing", malformedRemedy, 0},
	{43002, fetching, token.Bug, false, "the call must be a POST", malformedRemedy, 0},

	{41001, calling, token.Bug, false, "the token is missing", malformedRemedy, 0},
	{48001, calling, token.Human, false, "the account may not use this call", neverRemedy, 0},
	{50002, calling, token.Human, false, "the account's use is limited", neverRemedy, 0},
}

// refusal makes a Failure of an answer with an errcode.
func (c *Client) refusal(on where, a *answer, secrets ...token.Secret) *token.Failure {
	message := scrub(a.message, secrets)
	f := &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Transient, Written: true, Code: strconv.FormatInt(a.code, 10),
		Meaning: "a refusal that the broker does not know", Message: message,
		Remedy: "Look the code up in WeChat's list of global return codes (全局返回码).",
	}
	for _, r := range refusals {
		if r.code != a.code || r.on&on == 0 {
			continue
		}
		f.Class, f.Meaning, f.RetryAfter = r.class, r.meaning, r.wait
		f.Remedy = strings.ReplaceAll(r.remedy, "{address}", addressIn(message))
		if !r.unsure {
			f.Outcome = token.OutcomeNone
		}
		if r.code == codeDailyQuota {
			f.RetryAfter = untilDayEnds(c.cfg.Now().In(c.traits.Calendar))
		}
		break
	}
	return f
}

var requestID = regexp.MustCompile(`rid: ?[0-9A-Za-z-]{1,64}`)

// scrub is upstream.Scrub, but if that cuts off the request id, which stands at the end, the id is put back.
func scrub(message string, secrets []token.Secret) string {
	clean := upstream.Redact(message, secrets...)
	short := upstream.Cut(clean, token.MaxMessageSize)
	id := requestID.FindString(clean)
	if id == "" || strings.Contains(short, id) {
		return short
	}
	return upstream.Cut(clean, token.MaxMessageSize-len(id)-1) + " " + id
}

var ipv4 = regexp.MustCompile(`\d{1,3}(\.\d{1,3}){3}`)

// addressIn returns the address that a message names, preferring IPv4: WeChat writes "invalid ip 203.0.113.7 ipv6
// ::ffff:203.0.113.7, not in whitelist".
func addressIn(message string) string {
	if address, err := netip.ParseAddr(ipv4.FindString(message)); err == nil {
		return address.String()
	}
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" ,;[]()\"'", r) }) {
		if address, err := netip.ParseAddr(word); err == nil {
			return address.WithZone("").String()
		}
	}
	return "the address of the replica that met this"
}

// How far WeChat's clock and ours may be apart around midnight.
const (
	midnightMargin = time.Minute
	midnightDoubt  = 10 * time.Minute
)

// untilDayEnds says when to ask again after the daily quota was refused, now being in WeChat's time zone: a minute after the next
// midnight. A refusal just after midnight is more likely yesterday's, by WeChat's clock; it is not held against the whole new day.
func untilDayEnds(now time.Time) time.Duration {
	year, month, day := now.Date()
	if since := now.Sub(time.Date(year, month, day, 0, 0, 0, 0, now.Location())); since < midnightDoubt {
		return midnightDoubt - since + midnightMargin
	}
	return time.Date(year, month, day+1, 0, 0, 0, 0, now.Location()).Sub(now) + midnightMargin
}
