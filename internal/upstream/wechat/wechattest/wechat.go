package wechattest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Config says what is simulated. Zero values work, but for Accounts.
type Config struct {
	// Accounts are the official accounts that exist.
	Accounts []Account
	// TokenLife is the stated life of a new token, in whole seconds; default 2 h.
	TokenLife time.Duration
	// Overlap is how long a predecessor lives on, and the length of the stable endpoint's window; default TokenLife/24, which is 5 min.
	Overlap time.Duration
	Quotas  Quotas
	// Now is the clock; default time.Now. Only delays of faults are measured by the real one.
	Now func() time.Time
	// Seed makes tokens and request ids reproducible.
	Seed uint64
	// MinTokenSize and MaxTokenSize bound the length of tokens in bytes; default 136 and 512.
	MinTokenSize, MaxTokenSize int
	// Control serves the control endpoints; see the package's documentation.
	Control bool
}

// Account is one official account.
type Account struct {
	AppID, Secret string
	// Whitelist lists the addresses and prefixes that may fetch over HTTP; empty for all.
	Whitelist []string
	// Refuse is the errcode with which every fetch is refused, 0 for none: 40243 for a frozen secret, 50007 for a frozen account, ...
	Refuse int
}

// Quotas limit the calls of each account. Zero is WeChat's own figure, negative is unlimited.
type Quotas struct {
	ClassicPerDay  int           // 2000
	ClassicPerMin  int           // WeChat states none: unlimited
	StablePerDay   int           // 500,000
	StablePerMin   int           // 10,000
	ForcedPerDay   int           // 20
	ClearsPerMonth int           // 10
	ForcedSpacing  time.Duration // 30 s
}

func (q Quotas) withDefaults() Quotas {
	for _, d := range []struct {
		quota *int
		value int
	}{
		{&q.ClassicPerDay, 2000}, {&q.ClassicPerMin, -1}, {&q.StablePerDay, 500_000}, {&q.StablePerMin, 10_000},
		{&q.ForcedPerDay, 20}, {&q.ClearsPerMonth, 10},
	} {
		if *d.quota == 0 {
			*d.quota = d.value
		}
	}
	if q.ForcedSpacing == 0 {
		q.ForcedSpacing = 30 * time.Second
	}
	return q
}

// WeChat is a simulated WeChat. It is safe for concurrent use and starts no goroutine.
type WeChat struct {
	cfg Config
	mux *http.ServeMux

	mu       sync.Mutex // guards all below; held for no longer than a computation
	rng      *rand.Rand
	accounts map[string]*account
	tokens   map[string]*Issued
	history  []*Issued
	counts   map[Count]int // keys have N 0
	received map[Endpoint]int
	faults   []*Fault
	release  chan struct{} // closed by ClearFaults
	changed  chan struct{} // closed at the next request or answer
}

// account is the state of an Account.
type account struct {
	Account
	whitelist       []netip.Prefix
	classic, stable chain
	usage           usage
}

// chain is the tokens of one endpoint that may be alive.
type chain struct{ current, previous *Issued }

// New returns a simulated WeChat.
func New(cfg Config) (*WeChat, error) {
	if cfg.TokenLife == 0 {
		cfg.TokenLife = 2 * time.Hour
	}
	if cfg.Overlap == 0 {
		cfg.Overlap = cfg.TokenLife / 24
	}
	if cfg.TokenLife < time.Second || cfg.TokenLife%time.Second != 0 {
		return nil, fmt.Errorf("token life %v: not a positive number of whole seconds", cfg.TokenLife)
	}
	if cfg.Overlap < 0 || cfg.Overlap >= cfg.TokenLife {
		return nil, fmt.Errorf("overlap %v: not between 0 and the token life %v", cfg.Overlap, cfg.TokenLife)
	}
	if cfg.MinTokenSize == 0 && cfg.MaxTokenSize == 0 {
		cfg.MinTokenSize, cfg.MaxTokenSize = 136, 512
	}
	if cfg.MinTokenSize < shortestToken || cfg.MaxTokenSize < cfg.MinTokenSize {
		return nil, fmt.Errorf("token sizes %d to %d: not a range from %d up", cfg.MinTokenSize, cfg.MaxTokenSize, shortestToken)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Quotas = cfg.Quotas.withDefaults()
	w := &WeChat{
		cfg:      cfg,
		rng:      rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)),
		accounts: make(map[string]*account),
		tokens:   make(map[string]*Issued),
		counts:   make(map[Count]int),
		received: make(map[Endpoint]int),
		release:  make(chan struct{}),
		changed:  make(chan struct{}),
	}
	for _, a := range cfg.Accounts {
		if err := w.add(a); err != nil {
			return nil, err
		}
	}
	w.mux = w.routes()
	return w, nil
}

func (w *WeChat) add(a Account) error {
	whitelist, err := parsePrefixes(a.Whitelist)
	switch {
	case err != nil:
		return fmt.Errorf("account %q: %w", a.AppID, err)
	case a.AppID == "" || a.Secret == "":
		return errors.New("an account lacks its appid or secret")
	case w.accounts[a.AppID] != nil:
		return fmt.Errorf("account %q: given twice", a.AppID)
	}
	w.accounts[a.AppID] = &account{Account: a, whitelist: whitelist}
	return nil
}

// Change says what to change of an account; nil leaves a thing as it is.
type Change struct {
	Secret    *string   `json:"secret"`
	Refuse    *int      `json:"refuse"`
	Whitelist *[]string `json:"whitelist"`
}

// SetAccount changes an account.
func (w *WeChat) SetAccount(appid string, change Change) error {
	var whitelist []netip.Prefix
	if change.Whitelist != nil {
		var err error
		if whitelist, err = parsePrefixes(*change.Whitelist); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accounts[appid]
	if a == nil {
		return w.failure(40013)
	}
	if change.Secret != nil {
		a.Secret = *change.Secret
	}
	if change.Refuse != nil {
		a.Refuse = *change.Refuse
	}
	if change.Whitelist != nil {
		a.whitelist = whitelist
	}
	return nil
}

// parsePrefixes reads addresses and prefixes.
func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
