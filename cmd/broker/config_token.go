package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
)

// tokens reads the list of tokens and checks them against each other.
func (s *section) tokens() []tokenConfig {
	list := s.get("tokens")
	items := list.items()
	if list.given && list.node == nil {
		list.fail("tokens cannot be given outside the file", "write them into the file")
		return nil
	}
	if len(items) == 0 && (!list.given || list.node.Kind == yaml.SequenceNode) {
		s.fail("there are no tokens to keep alive", "add a list of tokens, each with name and wechat")
	}
	var (
		tokens   []tokenConfig
		names    = map[string]position{}
		accounts = map[string]position{}
	)
	for _, item := range items {
		sec := item.section()
		if !item.given {
			sec.fail("this element is empty", "give name and wechat, or take the dash away")
			continue
		}
		if sec.broken {
			continue
		}
		t := sec.token()
		if at, taken := names[t.Name]; taken && t.Name != "" {
			sec.get("name").fail(quote(t.Name)+" is also the name of the token on line "+itoa(at.Line), "give each token a name of its own")
		} else {
			names[t.Name] = sec.at
		}
		id := account(t.WeChat)
		if at, taken := accounts[id]; taken && t.WeChat.AppID != "" {
			sec.values["wechat"].section().get("appid").fail("the token on line "+itoa(at.Line)+" is of the same account and mode",
				"keep one of the two: WeChat has one token for both")
		} else {
			accounts[id] = sec.at
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// account tells apart what can be fetched independently: the stable and the classic token of an account are isolated at WeChat.
func account(c wechat.Config) string {
	return fmt.Sprintf("%s %s %s", c.Mode, c.AppID, strings.ToLower(cmp.Or(c.BaseURL, wechat.DefaultBaseURL)))
}

// token reads one element of the list.
func (s *section) token() tokenConfig {
	name := s.get("name")
	t := tokenConfig{Name: name.required("give a name, by which callers ask for the token")}
	if t.Name != "" {
		if err := token.ValidateName(t.Name); err != nil {
			name.fail(err.Error(), "")
		}
	}
	upstream := s.section("wechat")
	if !upstream.present {
		s.fail("the token's upstream is missing", "add wechat: with appid and secret")
	} else if !upstream.broken {
		upstream.wechat(&t)
		if t.Traits.MaxLife > 0 {
			t.Policy = s.policy(t)
		}
	}
	s.ignore("ahead", "daily_budget", "reserve", "refresh", "verify", "verify_reports") // where they could not be judged
	s.end()
	return t
}

// wechat reads an account into t, with the traits and the timing that follow from it. The traits are zero if they cannot be known;
// why was reported then.
func (s *section) wechat(t *tokenConfig) {
	c := wechat.Config{Mode: wechat.Mode(s.get("mode").oneOf(string(wechat.Stable), string(wechat.Stable), string(wechat.Classic)))}
	appid := s.get("appid")
	c.AppID = appid.required("write the AppID that WeChat's console shows")
	if len(c.AppID) > 64 || !visible(c.AppID) {
		appid.fail("this is not an AppID", "write the AppID that WeChat's console shows, such as wx0123456789abcdef")
	}
	c.Secret, t.SecretFrom = s.secret("secret", "AppSecret", false)
	base := s.get("base_url")
	c.BaseURL = base.baseURL("", true)
	if strings.HasPrefix(c.BaseURL, "http://") && !loopbackURL(c.BaseURL) {
		base.warn("the AppSecret and the tokens travel unencrypted", "use https")
	}
	life, overlap := s.get("max_life"), s.get("overlap")
	c.MaxLife, c.Overlap = life.duration(0, 10*time.Second, 2*time.Hour), overlap.duration(0, time.Second, 5*time.Minute)
	for _, v := range []value{life, overlap} {
		if v.given && !base.given {
			v.fail("WeChat's own is fixed", "take this away: it describes simulators, together with base_url")
		}
	}
	s.end()
	t.WeChat = c

	if !c.Secret.IsZero() {
		if _, err := wechat.New(wechat.Config{AppID: "-", Secret: c.Secret}); err != nil {
			s.values["secret"].fail(err.Error(), "copy the AppSecret from WeChat's console once more")
		}
	}
	var err error
	if t.Traits, err = c.Traits(); err != nil {
		overlap.fail(err.Error(), "shorten the overlap, or leave it out")
		return
	}
	t.Timing = token.TimingFor(t.Traits.Overlap)
}
