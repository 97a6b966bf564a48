package wechat

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // Asia/Shanghai on images without a zone database

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

// Mode is the endpoint that tokens are fetched from.
type Mode string

// The modes.
const (
	Stable  Mode = "stable"
	Classic Mode = "classic"
)

// DefaultBaseURL is WeChat's main domain.
const DefaultBaseURL = "https://api.weixin.qq.com"

// The lengths that an account's credentials may have; WeChat's have 18 and 32 characters.
const (
	longestAppID  = 128
	longestSecret = 256
)

// Config describes one account. Zero values work, but for AppID and Secret.
type Config struct {
	// Mode is Stable unless given.
	Mode   Mode
	AppID  string
	Secret token.Secret
	// BaseURL is http or https, with an optional path before /cgi-bin; default DefaultBaseURL. Over http the secret is readable on the
	// way: for simulations and trusted gateways only.
	BaseURL string
	// MaxLife is the longest life of a token; default 2 h, which is WeChat's. Shorter only for simulations.
	MaxLife time.Duration
	// Overlap is how long an old token lives beside its successor, and for Stable the length of the window at the end of a life in
	// which a fetch brings a new token; default MaxLife/24, which is WeChat's 5 min. Longer than WeChat's is a false promise.
	Overlap time.Duration
	// FetchesPerDay is the daily quota; default 2000. That is WeChat's figure for Classic (test accounts have 200). For Stable WeChat
	// states 500,000, but users met the limit after a few thousand; two dozen are needed.
	FetchesPerDay int64
	// ForcedPerDay and ForcedSpacing limit force_refresh; default 20 and 30 s, which are WeChat's.
	ForcedPerDay  int64
	ForcedSpacing time.Duration
	// HTTP says how to connect.
	HTTP upstream.Config
	// Now is the wall clock, which tells how long WeChat's day still lasts; default time.Now.
	Now func() time.Time
}

// Client is the token.Upstream of one account. It is safe for concurrent use.
type Client struct {
	cfg    Config
	base   string // without a slash at its end
	http   *upstream.Client
	traits token.Traits
}

var _ token.Upstream = (*Client)(nil)

// shanghai is WeChat's time zone. It is loaded once, so that the Traits of like Configs are equal.
var shanghai = sync.OnceValues(func() (*time.Location, error) { return time.LoadLocation("Asia/Shanghai") })

// New returns a Client. Errors name what is wrong with the configuration and never quote a secret.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	traits, wrongTimes := cfg.Traits()
	if err := errors.Join(cfg.checkAccount(), wrongTimes); err != nil {
		return nil, err
	}
	client, err := upstream.New(cfg.HTTP)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, base: strings.TrimRight(cfg.BaseURL, "/"), http: client, traits: traits}, nil
}

func (cfg Config) withDefaults() Config {
	cfg.Mode = cmp.Or(cfg.Mode, Stable)
	cfg.BaseURL = cmp.Or(cfg.BaseURL, DefaultBaseURL)
	cfg.MaxLife = cmp.Or(cfg.MaxLife, 2*time.Hour)
	cfg.Overlap = cmp.Or(cfg.Overlap, cfg.MaxLife/24)
	cfg.FetchesPerDay = cmp.Or(cfg.FetchesPerDay, 2000)
	cfg.ForcedPerDay = cmp.Or(cfg.ForcedPerDay, 20)
	cfg.ForcedSpacing = cmp.Or(cfg.ForcedSpacing, 30*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg
}

func (cfg Config) checkAccount() error {
	var errs []error
	if cfg.Mode != Stable && cfg.Mode != Classic {
		errs = append(errs, fmt.Errorf("mode %q is neither %q nor %q", cfg.Mode, Stable, Classic))
	}
	if !visible(cfg.AppID) || len(cfg.AppID) > longestAppID {
		errs = append(errs, fmt.Errorf("the appid must be 1 to %d visible ASCII characters", longestAppID))
	}
	if secret := cfg.Secret.Reveal(); !visible(secret) || len(secret) > longestSecret {
		errs = append(errs, fmt.Errorf("the secret must be 1 to %d visible ASCII characters", longestSecret))
	}
	// The error of url.Parse would quote the URL.
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" || base.User != nil ||
		base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		errs = append(errs, errors.New("the base URL must be http or https, with a host and no user, query or fragment"))
	}
	return errors.Join(errs...)
}

func (cfg Config) checkTimes() error {
	var errs []error
	if cfg.MaxLife < time.Second {
		errs = append(errs, fmt.Errorf("a longest life of %v is not at least a second", cfg.MaxLife))
	}
	if cfg.Overlap <= 0 || cfg.Overlap > cfg.MaxLife/4 {
		errs = append(errs, fmt.Errorf("an overlap of %v is not positive and at most a quarter of the longest life %v", cfg.Overlap, cfg.MaxLife))
	}
	if cfg.FetchesPerDay < 0 || cfg.ForcedPerDay < 0 || cfg.ForcedSpacing < 0 {
		errs = append(errs, errors.New("quotas must not be negative"))
	}
	return errors.Join(errs...)
}

// Traits returns what a Client of this Config says of itself, whether the account is right or not. Errors name the time that is wrong.
func (cfg Config) Traits() (token.Traits, error) {
	cfg = cfg.withDefaults()
	if err := cfg.checkTimes(); err != nil {
		return token.Traits{}, err
	}
	calendar, err := shanghai()
	if err != nil {
		return token.Traits{}, fmt.Errorf("loading WeChat's time zone: %w", err)
	}
	t := token.Traits{
		Kind: "wechat " + string(cfg.Mode), AppID: cfg.AppID, Source: "wechat " + string(cfg.Mode) + " " + cfg.AppID + " " + cfg.BaseURL,
		Overlap: cfg.Overlap, MaxLife: cfg.MaxLife,
		FetchesPerDay: cfg.FetchesPerDay, Calendar: calendar,
	}
	if cfg.Mode == Classic {
		t.Rotating = true
		// A rotation must begin two quiet waits and a request's longest delay before the end: 2 x 240 s + 60 s where the overlap is
		// 300 s, that is 9/5 of it. A quarter of the life, 30 min, leaves room to fail.
		t.Ahead = max(cfg.MaxLife/4, cfg.Overlap*9/5)
		return t, nil
	}
	t.Force, t.ForcedPerDay, t.ForcedSpacing = true, cfg.ForcedPerDay, cfg.ForcedSpacing
	// Inside the window for certain: a life that is counted from the request's start seems to end a little too early, so that the
	// window, too, seems to begin too early, by at most the 10 s of a fetch.
	t.Ahead = cfg.Overlap * 9 / 10
	return t, nil
}

// Traits describes the endpoint.
func (c *Client) Traits() token.Traits { return c.traits }

// visible reports whether a text consists of printable ASCII characters without spaces, at least one.
func visible(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}
