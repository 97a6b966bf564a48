package main

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	"go.yaml.in/yaml/v4"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/gateway"
)

// tokenPattern is a token's name with any number of asterisks.
var tokenPattern = regexp.MustCompile(`^[a-z0-9*]([a-z0-9*._-]{0,61}[a-z0-9*])?$`)

// clients reads the list of those who may use the WeChat-compatible paths. It warns of what can do nothing: a name that was mistyped
// would otherwise show in callers' refusals only.
func (s *section) clients(all []tokenConfig, entrance gatewayConfig) []gateway.Client {
	list := s.get("clients")
	if list.given && entrance.Listen == "" {
		list.warn("there is no gateway at which clients could ask", "set gateway.listen")
	}
	if v, written := s.values["clients"]; written && (!v.given || v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0) {
		v.fail("this list is empty", "list clients, or take it away; without clients, authentication and policy nobody is asked who they are")
	}
	if list.given && list.node == nil {
		list.fail("clients cannot be given outside the file", "write them into the file")
		return nil
	}
	var (
		clients []gateway.Client
		names   = map[string]position{}
		hashes  = map[[sha256.Size]byte]position{}
	)
	for _, item := range list.items() {
		sec := item.section()
		if !item.given {
			sec.fail("this element is empty", "give name, secret_sha256 and tokens, or take the dash away")
			continue
		}
		if sec.broken {
			continue
		}
		c, ok := sec.client(all)
		if at, taken := names[c.Name]; taken {
			sec.get("name").fail(quote(c.Name)+" is also the name of the client on line "+itoa(at.Line), "give each client a name of its own")
		}
		if at, taken := hashes[c.SecretSHA256]; taken {
			sec.get("secret_sha256").fail("the client on line "+itoa(at.Line)+" has the same secret", "broker client create makes a secret for each")
		}
		if ok {
			names[c.Name], hashes[c.SecretSHA256] = sec.at, sec.at
			clients = append(clients, c)
		}
	}
	return clients
}

// client reads one element of the list. False: something is wrong with it, and was reported.
func (s *section) client(all []tokenConfig) (c gateway.Client, ok bool) {
	const example = "broker client create prints what belongs here"
	before := len(s.problems)
	name, sum, tokens := s.get("name"), s.get("secret_sha256"), s.get("tokens")
	if c.Name = name.required("name the client"); c.Name != "" && !access.CallerName.MatchString(c.Name) {
		name.fail(quote(c.Name)+" cannot be a client's name", "write letters, digits, '.', '_' and '-'")
	}
	// What stands here is never quoted: it may be the secret itself.
	if text := sum.required(example); text != "" {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != sha256.Size {
			sum.fail("this is not a SHA-256 in 64 hexadecimal digits", example)
		}
		copy(c.SecretSHA256[:], raw)
	}
	c.Tokens = tokens.tokenPatterns(all)
	if len(c.Tokens) == 0 && len(s.problems) == before {
		s.fail("the client may have no tokens", `list their names, or patterns such as "shop-*"`)
	}
	s.end()
	return c, len(s.problems) == before
}
