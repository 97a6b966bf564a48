package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// credentialAttacks are by somebody whom nobody knows.
func credentialAttacks() []attack {
	return []attack{
		{
			name: "nobody-grpc", does: "calls without any credentials, 2000 a second over 8 connections",
			stops: "they are refused before the handler",
			run: func(ctx context.Context, t target, n *tally) error {
				return callGRPC(ctx, t.nobody(), 8, 2000, t.getToken, n)
			},
		},
		{
			name: "bearer-grpc", does: "calls with bearers that are garbage, forged JWTs (the right key id, another key) and expired ones in turn, 2000 a second over 8 connections",
			stops: "they are refused before the handler, after one check of a signature at most",
			run: func(ctx context.Context, t target, n *tally) error {
				bearers := t.bearers()
				return callGRPC(ctx, t.nobody(), 8, 2000, func(ctx context.Context, c *grpc.ClientConn) error {
					return t.getToken(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearers()), c)
				}, n)
			},
		},
		{
			name: "bearer-http", does: "the same as JSON, 1000 a second over 8 connections",
			stops: "the same: the gateway hands bearers on",
			run: func(ctx context.Context, t target, n *tally) error {
				bearers := t.bearers()
				return callHTTP(ctx, t.nobody(), 8, 1000, func() *http.Request {
					req := get(t.way, "/v1/tokens/"+t.Still)
					req.Header.Set("Authorization", "Bearer "+bearers())
					return req
				}, status200, n)
			},
		},
		{
			name: "client-secrets", does: "guesses at a client's secret on `/cgi-bin/token`, 1000 a second over 8 connections",
			stops: "nothing is looked up for a wrong secret but its hash; 256 random bits are not guessed",
			run: func(ctx context.Context, t target, n *tally) error {
				return callHTTP(ctx, t.nobody(), 8, 1000, func() *http.Request {
					return get(t.way, "/cgi-bin/token?"+url.Values{
						"grant_type": {"client_credential"}, "appid": {t.AppID}, "secret": {rand.Text()},
					}.Encode())
				}, errcode, n)
			},
		},
	}
}

// getToken asks for a token.
func (t target) getToken(ctx context.Context, c *grpc.ClientConn) error {
	_, err := tokenbrokerv1.NewTokenBrokerServiceClient(c).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: t.Still})
	return err
}

// bearers returns a function that returns all of them in turn. It is safe for concurrent use.
func (t target) bearers() func() string {
	all := slices.Collect(maps.Values(t.Bearers))
	var turn atomic.Uint32
	return func() string { return all[int(turn.Add(1))%len(all)] }
}

// errcode is the outcome of an answer in WeChat's manner, which is always 200.
func errcode(resp *http.Response) string {
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode != http.StatusOK:
		return status200(resp)
	case bytes.Contains(body, []byte(`"access_token"`)):
		return served
	case bytes.Contains(body, []byte("40125")):
		return "errcode 40125"
	default:
		return "another errcode"
	}
}
