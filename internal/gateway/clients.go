package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync/atomic"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Admission decides who may use the WeChat-compatible paths.
type Admission interface {
	// Admit returns the client that a request comes from, by the secret that it brought ("" if it brought none) or by anything else that
	// the request shows. False: it comes from nobody who is known. It must not block, nor keep or log the secret.
	Admit(r *http.Request, secret string) (*Client, bool)
}

// Client is somebody who uses the WeChat-compatible paths.
type Client struct {
	// Name is for people.
	Name string
	// SecretSHA256 is the hash of the client's secret. The secret has 256 random bits, so that a slow hash would protect nothing.
	SecretSHA256 [sha256.Size]byte
	// Tokens are the names of the tokens that the client may have; "*" in one stands for any characters.
	Tokens []string
}

// May reports whether the client may have the token.
func (c *Client) May(name string) bool {
	for _, pattern := range c.Tokens {
		if p := token.NewPattern(pattern); p.Match(name) {
			return true
		}
	}
	return false
}

// Clients is an Admission by secrets. It is safe for concurrent use.
type Clients struct{ list atomic.Pointer[[]Client] }

// NewClients returns the Admission of the listed clients.
func NewClients(list []Client) *Clients {
	c := &Clients{}
	c.Set(list)
	return c
}

// Set replaces the clients. The list must not be changed afterwards.
func (c *Clients) Set(list []Client) { c.list.Store(&list) }

// Admit implements Admission. It compares with every client's hash, each in constant time.
func (c *Clients) Admit(_ *http.Request, secret string) (*Client, bool) {
	if secret == "" {
		return nil, false
	}
	sum := sha256.Sum256([]byte(secret))
	var found *Client
	list := *c.list.Load()
	for i := range list {
		if subtle.ConstantTimeCompare(sum[:], list[i].SecretSHA256[:]) == 1 {
			found = &list[i]
		}
	}
	return found, found != nil
}
