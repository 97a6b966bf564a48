package wechat

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

const (
	grantType  = "client_credential"
	classicURL = "/cgi-bin/token"
	stableURL  = "/cgi-bin/stable_token"
	probeURL   = "/cgi-bin/get_api_domain_ip"
)

// Fetch makes one call and returns the token, or an error that is always a *token.Failure. It blocks for Config.HTTP.Timeout at most.
func (c *Client) Fetch(ctx context.Context, req token.FetchRequest) (token.Grant, error) {
	if req.Force && !c.traits.Force {
		return token.Grant{}, &token.Failure{
			Outcome: token.OutcomeNone, Class: token.Bug, Code: "force", Meaning: "this endpoint cannot be asked to kill a token",
		}
	}
	answer, err := c.http.Do(ctx, c.fetch(req))
	if err != nil {
		return token.Grant{}, err
	}
	if answer.Status != http.StatusOK {
		return token.Grant{}, upstream.StatusFailure(answer)
	}
	grant, failure := c.read(answer.Body)
	if failure != nil {
		return token.Grant{}, failure
	}
	return grant, nil
}

func (c *Client) fetch(req token.FetchRequest) upstream.Request {
	r := upstream.Request{
		Secrets: []token.Secret{c.cfg.Secret}, BeforeWrite: req.BeforeWrite, AfterWrite: req.AfterWrite,
	}
	if c.cfg.Mode == Classic {
		query := url.Values{"grant_type": {grantType}, "appid": {c.cfg.AppID}, "secret": {c.cfg.Secret.Reveal()}}
		r.Method, r.URL = http.MethodGet, c.base+classicURL+"?"+query.Encode()
		return r
	}
	// Marshalling strings and a bool cannot fail.
	r.Body, _ = json.Marshal(struct {
		GrantType string `json:"grant_type"`
		AppID     string `json:"appid"`
		Secret    string `json:"secret"`
		Force     bool   `json:"force_refresh"`
	}{grantType, c.cfg.AppID, c.cfg.Secret.Reveal(), req.Force})
	r.Method, r.URL, r.ContentType = http.MethodPost, c.base+stableURL, "application/json"
	return r
}

// read judges the body of an answer with status 200.
func (c *Client) read(body []byte) (token.Grant, *token.Failure) {
	a, err := decodeAnswer(body)
	if err != nil {
		return token.Grant{}, malformed(err)
	}
	if a.code != 0 && a.value != "" {
		return token.Grant{}, malformed(errBoth)
	}
	if a.code != 0 {
		return token.Grant{}, c.refusal(fetching, a, c.cfg.Secret)
	}
	grant, err := a.grant(c.cfg.MaxLife)
	if err != nil {
		return token.Grant{}, malformed(err)
	}
	return grant, nil
}

// Probe asks for the list of WeChat's addresses, a call that needs a living token and has no effect. It spends the quota of that call
// and none of fetching. Its errors are *token.Failure, too, whose Outcome means nothing here: nothing was learned of the token.
func (c *Client) Probe(ctx context.Context, value token.Secret) (token.Health, error) {
	secrets := []token.Secret{value, c.cfg.Secret}
	answer, err := c.http.Do(ctx, upstream.Request{
		Method: http.MethodGet, URL: c.base + probeURL + "?access_token=" + url.QueryEscape(value.Reveal()), Secrets: secrets,
	})
	if err != nil {
		return "", err
	}
	if answer.Status != http.StatusOK {
		return "", upstream.StatusFailure(answer)
	}
	a, err := decodeAnswer(answer.Body)
	switch {
	case err != nil:
		return "", malformed(err)
	case a.code == codeInvalid || a.code == codeUnknownToken || a.code == codeExpired:
		return token.Dead, nil
	case a.code != 0:
		return "", c.refusal(calling, a, secrets...)
	case !a.coded && !a.listed:
		// "Alive" may end a doubt about a rotation: an empty object is no proof of it.
		return "", malformed(errNothing)
	}
	return token.Alive, nil
}
