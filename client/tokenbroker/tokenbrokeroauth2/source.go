// Package tokenbrokeroauth2 gives tokens of a broker to whatever takes an oauth2.TokenSource. It is apart from package tokenbroker because it
// needs golang.org/x/oauth2.
package tokenbrokeroauth2

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

// New returns a source of bearer tokens. It answers from memory, so there is no use in an oauth2.ReuseTokenSource around it, which would
// keep a token that was reported as invalid. Its calls wait as long as tokenbroker.WithPatience says.
//
//	http := &http.Client{Transport: &oauth2.Transport{Source: tokenbrokeroauth2.New(source)}}
func New(source *tokenbroker.Source) oauth2.TokenSource { return tokenSource{source} }

type tokenSource struct{ source *tokenbroker.Source }

// Token implements oauth2.TokenSource. The expiry is the end of what is promised.
func (s tokenSource) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.Value(), TokenType: "Bearer", Expiry: time.Now().Add(t.TTL())}, nil
}
