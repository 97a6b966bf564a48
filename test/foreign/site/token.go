package site

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Token is what the broker holds, as its own API tells it.
type Token struct {
	Value   string `json:"accessToken"`
	Version int64  `json:"version,string"`
}

// Token asks the broker for a token.
func (s *Site) Token(tb testing.TB, name string) Token {
	tb.Helper()
	t, ok := s.ask(tb, name)
	if !ok {
		tb.Fatalf("there is no token %s", name)
	}
	return t
}

// Kill lets WeChat refuse the present token of that name from now on, and returns it.
func (s *Site) Kill(tb testing.TB, name string) Token {
	tb.Helper()
	t := s.Token(tb, name)
	if !s.WeChat.Kill(t.Value) {
		tb.Fatalf("token %s was dead already", name)
	}
	return t
}

// ask reports whether the broker has a token of that name.
func (s *Site) ask(tb testing.TB, name string) (Token, bool) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, s.HTTP+"/v1/tokens/"+name, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return Token{}, false
	}
	defer resp.Body.Close()
	var body struct{ Token Token }
	err = json.NewDecoder(resp.Body).Decode(&body)
	return body.Token, resp.StatusCode == http.StatusOK && err == nil && body.Token.Value != ""
}
