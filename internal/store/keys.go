package store

import (
	"strconv"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// keyspace is the prefix of every key. Names of tokens, attempts and kinds contain no slash.
type keyspace string

func (k keyspace) election() string          { return string(k) + "election" }
func (k keyspace) head() string              { return string(k) + "head" }
func (k keyspace) tokens() string            { return string(k) + "token/" }
func (k keyspace) token(name string) string  { return k.tokens() + name }
func (k keyspace) orphans() string           { return string(k) + "orphan/" }
func (k keyspace) orphansOf(n string) string { return k.orphans() + n + "/" }

// copy is what a copy of a record is sealed for. It is no key: those begin with the namespace.
func (k keyspace) copy(name string) string { return "copy of " + k.token(name) }

func (k keyspace) orphan(name, attempt string) string { return k.orphansOf(name) + attempt }

// request is the key that all requests of one kind, name and version share.
func (k keyspace) request(r token.Request) string {
	kind := string(r.Kind)
	if r.Force {
		kind += "-force"
	}
	key := string(k) + "request/" + kind + "/"
	if r.Name != "" {
		key += r.Name + "/"
	}
	return key + strconv.FormatInt(r.Version, 10)
}

// The parts of the keyspace, as split tells them apart.
const (
	partToken   = "token"
	partHead    = "head"
	partOrphan  = "orphan"
	partRequest = "request"
)

// split returns which part of the keyspace a key belongs to, and the rest of the key.
func (k keyspace) split(key []byte) (part, rest string) {
	part, rest, _ = strings.Cut(strings.TrimPrefix(string(key), string(k)), "/")
	return part, rest
}
