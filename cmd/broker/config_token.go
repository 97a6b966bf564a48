package main

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tokenbroker/tokenbroker/internal/token"
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
		account := t.WeChat.account()
		if at, taken := accounts[account]; taken && t.WeChat.AppID != "" {
			sec.values["wechat"].section().get("appid").fail("the token on line "+itoa(at.Line)+" is of the same account and mode",
				"keep one of the two: WeChat has one token for both")
		} else {
			accounts[account] = sec.at
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// account tells apart what can be fetched independently: the stable and the classic token of an account are isolated at WeChat.
func (c wechatConfig) account() string {
	return fmt.Sprintf("%v %s %s", c.Classic, c.AppID, strings.ToLower(c.BaseURL))
}

func (s *section) token() tokenConfig {
	name := s.get("name")
	t := tokenConfig{Name: name.required("give a name, by which callers ask for the token")}
	if t.Name != "" {
		if err := token.ValidateName(t.Name); err != nil {
			name.fail(err.Error(), "")
		}
	}
	wechat := s.section("wechat")
	if wechat.present {
		t.WeChat = wechat.wechat()
	} else {
		s.fail("the token's upstream is missing", "add wechat: with appid and secret")
	}
	t.Policy = s.policy(t.WeChat)
	s.end()
	return t
}

func (s *section) wechat() wechatConfig {
	var c wechatConfig
	c.Classic = s.get("mode").oneOf("stable", "stable", "classic") == "classic"
	appid := s.get("appid")
	c.AppID = appid.required("write the AppID that WeChat's console shows")
	if len(c.AppID) > 64 || strings.ContainsFunc(c.AppID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		appid.fail("this is not an AppID", "write the AppID that WeChat's console shows, such as wx0123456789abcdef")
	}
	c.Secret, c.SecretFrom = s.secret("secret", "AppSecret", false)
	base := s.get("base_url")
	c.BaseURL = base.baseURL("", true)
	if strings.HasPrefix(c.BaseURL, "http://") && !loopbackURL(c.BaseURL) {
		base.warn("the AppSecret and the tokens travel unencrypted", "use https")
	}
	c.MaxLife = s.get("max_life").duration(0, 10*time.Second, 24*time.Hour)
	c.Overlap = s.get("overlap").duration(0, time.Second, time.Hour)
	if s.get("overlap").given && c.BaseURL == "" {
		s.get("overlap").fail("WeChat's own overlap is fixed", "take this away: it describes simulators, together with base_url")
	}
	s.end()
	return c
}
