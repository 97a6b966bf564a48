package tokenbroker

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// WeChatTransport returns a transport that adds the token to every request as the query parameter access_token, for the APIs of WeChat. When
// the answer is JSON with errcode 40001, 40014 or 42001 it reports the token, and sends the request once more with the newer one. base may
// be nil for http.DefaultTransport.
//
// It looks at the first 4 KiB of an answer at most, and only if that is JSON; answers are passed on whole, and as they come.
func (s *Source) WeChatTransport(base http.RoundTripper) http.RoundTripper {
	return &transport{source: s, base: base, set: setQuery, refused: refusedByWeChat}
}

// BearerTransport returns a transport that adds the token to every request as a bearer token (RFC 6750). When the status of the answer is 401
// it reports the token, and sends the request once more with the newer one. base may be nil for http.DefaultTransport.
func (s *Source) BearerTransport(base http.RoundTripper) http.RoundTripper {
	return &transport{
		source: s, base: base,
		set:     func(r *http.Request, value string) { r.Header.Set("Authorization", "Bearer "+value) },
		refused: func(r *http.Response) bool { return r.StatusCode == http.StatusUnauthorized },
	}
}

// transport adds a token to requests.
//
// A request is sent again only if its body can be had again: it has none, or a GetBody. In any case the token is reported. Where a client
// follows a redirect to another host the token is left out from then on: it was meant for the first one. The request that a response names
// is the caller's, and a redirect that repeats the token loses it, so that nobody logs a URL with a token.
type transport struct {
	source  *Source
	base    http.RoundTripper
	set     func(*http.Request, string)
	refused func(*http.Response) bool // may replace the body by an equal one
}

// setQuery leaves what is in the query already as it is, but for another token.
func setQuery(r *http.Request, value string) {
	if query := r.URL.Query(); query.Has("access_token") {
		query.Del("access_token")
		r.URL.RawQuery = query.Encode()
	}
	added := "access_token=" + url.QueryEscape(value)
	if r.URL.RawQuery != "" {
		added += "&" + r.URL.RawQuery
	}
	r.URL.RawQuery = added
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if leftHost(req) {
		resp, err := t.roundTripper().RoundTrip(req)
		if resp != nil {
			resp.Request = req // by which the next redirect is known for one
		}
		return resp, err
	}
	ctx := req.Context()
	token, err := t.source.Token(ctx)
	if err != nil {
		closeBody(req)
		return nil, fmt.Errorf("getting token %q: %w", t.source.name, err)
	}
	resp, err := t.send(req, req.Body, token)
	if err != nil || !t.refused(resp) {
		return resp, err
	}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		t.source.report(token)
		return resp, nil
	}
	// It may take until the end of ctx. The refusal is kept until then: it is the answer if nothing better comes.
	next, err := t.source.Invalid(ctx, token)
	if err != nil {
		return resp, nil //nolint:nilerr // there is no better token, so the refusal is the answer
	}
	body := req.Body
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // it cannot be had again after all
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, peekSize) // so that the connection can be used again
	resp.Body.Close()
	return t.send(req, body, next)
}

// send sends a copy of the request with this body and token.
func (t *transport) send(req *http.Request, body io.ReadCloser, token Token) (*http.Response, error) {
	sent := req.Clone(req.Context())
	sent.Body = body
	t.set(sent, token.Value())
	resp, err := t.roundTripper().RoundTrip(sent)
	if resp != nil {
		resp.Request = req
		hideToken(resp, token.Value())
	}
	return resp, err
}

func (t *transport) roundTripper() http.RoundTripper {
	if t.base == nil {
		return http.DefaultTransport //nolint:forbidigo // what a nil transport stands for everywhere
	}
	return t.base
}

// hideToken takes a token out of where a response leads. Many a server repeats the whole query there; the client would send it to whatever
// host that is, and quote it in its errors.
func hideToken(resp *http.Response, value string) {
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || !slices.Contains(to.Query()["access_token"], value) {
		return
	}
	to.RawQuery = strings.Join(slices.DeleteFunc(strings.Split(to.RawQuery, "&"), func(parameter string) bool {
		one, err := url.ParseQuery(parameter)
		return err == nil && one.Get("access_token") == value
	}), "&")
	resp.Header = resp.Header.Clone()
	resp.Header.Set("Location", to.String())
}

// leftHost reports whether a client was redirected to another host, or away from encryption, since its first request. It may have come back
// since: then another host chose what is asked for.
func leftHost(req *http.Request) bool {
	for ; req.Response != nil && req.Response.Request != nil; req = req.Response.Request {
		if !leadsOn(req.Response.Request.URL, req.URL) {
			return true
		}
	}
	return false
}

// leadsOn reports whether a redirect stays where a token may go.
func leadsOn(from, to *url.URL) bool {
	return from.Host == to.Host && (from.Scheme == to.Scheme || from.Scheme == "http" && to.Scheme == "https")
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // whose errors nobody waits for
	}
}
