package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// The WeChat-compatible paths.
const (
	wechatPaths = "/cgi-bin/"
	classicPath = wechatPaths + "token"
	stablePath  = wechatPaths + "stable_token"
)

// What a request of each path is answered with, as Token.upstream has it.
const (
	classicKind = "wechat classic"
	stableKind  = "wechat stable"
)

const (
	// wechatWait is how long a WeChat-compatible request may take: the least patient SDK (co-wechat-api) gives up after 3 s.
	wechatWait = 2500 * time.Millisecond
	// forceWait is the part of it for a forced refresh. One that takes longer goes on by itself.
	forceWait = 1500 * time.Millisecond
	// leastLife is the least that is answered, so that expires_in is never 0.
	leastLife = time.Second
)

func isWeChatPath(path string) bool { return strings.HasPrefix(path, wechatPaths) }

// wechatRequest is what both paths ask for.
type wechatRequest struct {
	GrantType string `json:"grant_type"`
	AppID     string `json:"appid"`
	Secret    string `json:"secret"`
	Force     bool   `json:"force_refresh"`

	kind string
}

// serveWeChat answers as api.weixin.qq.com does: always with status 200, errors in the body.
func (g *Gateway) serveWeChat(a *answer, r *http.Request) {
	switch r.URL.Path {
	case classicPath, stablePath:
		a.path = r.URL.Path
	default:
		a.path = wechatPaths
		g.answerWeChat(a, errURL)
		return
	}
	asked, err := readWeChat(r)
	if err != nil {
		g.answerWeChat(a, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wechatWait)
	defer cancel()
	t, err := g.tokenFor(ctx, r, asked)
	if err != nil {
		g.answerWeChat(a, err)
		return
	}
	g.answerToken(a, t)
}

// readWeChat reads a request of either path. WeChat reads the parameters of /cgi-bin/token from the query, of a POST as well.
func readWeChat(r *http.Request) (*wechatRequest, error) {
	if r.URL.Path == classicPath {
		if r.Method != http.MethodGet && r.Method != http.MethodPost {
			return nil, errGetOnly
		}
		q := r.URL.Query()
		return &wechatRequest{GrantType: q.Get("grant_type"), AppID: q.Get("appid"), Secret: q.Get("secret"), kind: classicKind}, nil
	}
	if r.Method != http.MethodPost {
		return nil, errPostOnly
	}
	asked := &wechatRequest{kind: stableKind}
	if err := json.NewDecoder(r.Body).Decode(asked); err != nil {
		return nil, errDataFormat
	}
	return asked, nil
}

// tokenFor decides who asks and for what, and gets it.
func (g *Gateway) tokenFor(ctx context.Context, r *http.Request, asked *wechatRequest) (*tokenbrokerv1.Token, error) {
	switch {
	case asked.GrantType != "client_credential":
		return nil, errGrantType
	case asked.AppID == "":
		return nil, errNoAppID
	}
	ctx, err := runtime.AnnotateContext(ctx, g.mux, r, tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName)
	if err != nil {
		return nil, err
	}
	client, ok := g.admission.Admit(r, asked.Secret)
	switch {
	case ok:
		ctx = comingFromClient(ctx, client)
	case asked.Secret == "":
		return nil, errNoSecret
	default:
		return nil, g.wrongSecret(ctx)
	}
	t, err := g.tokenOf(ctx, client, asked)
	if err != nil || !asked.Force {
		return t, err
	}
	// What the report brings is asked for once more, since it may have no life left that could be told. If it was refused, nothing has
	// changed, and WeChat answers as to an ordinary request, too.
	reporting, cancel := context.WithTimeout(ctx, forceWait)
	defer cancel()
	_, _ = g.broker.ReportInvalidToken(reporting, &tokenbrokerv1.ReportInvalidTokenRequest{
		Name: t.GetName(), Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: t.GetVersion()},
	})
	return g.get(ctx, t.GetName())
}

// wrongSecret returns what a caller is told whose secret is no client's. The server learns of it, which counts and records who is refused; if
// there are too many from the caller's address, that is what is told.
func (g *Gateway) wrongSecret(ctx context.Context) error {
	_, err := g.broker.GetToken(comingWithWrongSecret(ctx), &tokenbrokerv1.GetTokenRequest{})
	if status.Code(err) == codes.ResourceExhausted {
		return err
	}
	return errSecret
}

// tokenOf finds the client's token of the account and gets it. The list by which it is found may be out of date once.
func (g *Gateway) tokenOf(ctx context.Context, client *Client, asked *wechatRequest) (*tokenbrokerv1.Token, error) {
	kinds := []string{asked.kind}
	if g.anyMode {
		kinds = append(kinds, map[string]string{stableKind: classicKind, classicKind: stableKind}[asked.kind])
	}
	var outdated *listing
	for {
		name, of, l, err := g.search(ctx, client, asked.AppID, kinds, outdated)
		if err != nil {
			return nil, err
		}
		t, err := g.get(ctx, name)
		gone := status.Code(err) == codes.NotFound || err == nil && (account{t.GetAppId(), t.GetUpstream()}) != of
		switch {
		case !gone:
			return t, err
		case outdated != nil:
			return nil, errAppID
		}
		outdated = l
	}
}

// search returns the name of a token that is of the application, of one of the kinds, the first of which is the best, and may be had by
// the client.
func (g *Gateway) search(ctx context.Context, client *Client, appid string, kinds []string, outdated *listing) (string, account, *listing, error) {
	var l *listing
	for _, kind := range kinds {
		of := account{appid, kind}
		var names []string
		var err error
		if names, l, err = g.listings.find(ctx, client.Name, of, outdated); err != nil {
			return "", of, l, err
		}
		for _, name := range names {
			if client.May(name) {
				return name, of, l, nil
			}
		}
	}
	return "", account{}, l, errAppID
}

// get gets a token with a life that can be told in seconds. If there is a token without one, its successor is waited for; if there is
// none at all, not for longer than GetToken itself does, so that the caller soon learns why.
func (g *Gateway) get(ctx context.Context, name string) (*tokenbrokerv1.Token, error) {
	answer, err := g.broker.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name})
	if err == nil && answer.GetToken().GetTtl().AsDuration() < leastLife {
		answer, err = g.broker.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(leastLife)})
	}
	return answer.GetToken(), err
}
