package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// listAge is how long a list of tokens is believed.
const listAge = time.Second

// account is what a WeChat-compatible request asks for: the application, and the kind of token.
type account struct{ appid, upstream string }

// maxListings bounds how many lists are kept. One call makes a list anew.
const maxListings = 1024

// listings finds the tokens of an account for a client. Each client has a list of its own, since it may show less than another's, and so has
// each certificate and bearer token that is brought along with its secret. The list that is kept may be out of date: whoever gets a token by
// it must look whether it is of that account.
type listings struct {
	list listTokens

	mu sync.Mutex
	of map[credentials]*accounts
}

type listTokens func(context.Context, *tokenbrokerv1.ListTokensRequest, ...grpc.CallOption) (*tokenbrokerv1.ListTokensResponse, error)

// find is accounts.find for a client.
func (l *listings) find(ctx context.Context, client string, of account, outdated *listing) ([]string, *listing, error) {
	key := credentialsOf(ctx, client)
	l.mu.Lock()
	a := l.of[key]
	if a == nil {
		if len(l.of) >= maxListings {
			clear(l.of)
		}
		a = &accounts{list: l.list}
		l.of[key] = a
	}
	l.mu.Unlock()
	return a.find(ctx, of, outdated)
}

// accounts finds the tokens of an account for one client.
type accounts struct {
	list listTokens

	known atomic.Pointer[listing]
	mu    sync.Mutex // held while a new list is fetched
}

type listing struct {
	read  time.Time
	names map[account][]string // sorted
}

// find returns the names of an account's tokens. Blocks for a call if what is known is old, or if the caller has found that it is wrong.
func (a *accounts) find(ctx context.Context, of account, outdated *listing) ([]string, *listing, error) {
	l := a.known.Load()
	if l != nil && l != outdated && time.Since(l.read) < listAge {
		return l.names[of], l, nil
	}
	l, err := a.renew(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	return l.names[of], l, nil
}

// renew fetches a list, unless somebody else has replaced the old one meanwhile.
func (a *accounts) renew(ctx context.Context, old *listing) (*listing, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.known.Load(); l != old {
		return l, nil
	}
	l := &listing{read: time.Now(), names: map[account][]string{}}
	answer, err := a.list(ctx, &tokenbrokerv1.ListTokensRequest{})
	if err != nil {
		return nil, err
	}
	for _, t := range answer.GetTokens() {
		of := account{t.GetAppId(), t.GetUpstream()}
		l.names[of] = append(l.names[of], t.GetName())
	}
	for _, names := range l.names {
		slices.Sort(names)
	}
	a.known.Store(l)
	return l, nil
}
