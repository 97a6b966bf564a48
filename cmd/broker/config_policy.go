package main

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// policyConfig says what callers may have.
type policyConfig struct {
	// Given: there are rules of the operator's. Without them the list may still have those of the clients.
	Given bool
	Rules []access.Rule
	// places are where the rules stand, by what they are called.
	places map[string]position
}

// guarded reports whether callers are asked who they are: if anything is said of who they may be, or of what they may have.
func (c *config) guarded() bool {
	return c.Authentication.Given || c.Policy.Given || len(c.Clients) > 0
}

// checkGuarded reports what needs callers to be asked who they are, where they are not.
func (s *section) checkGuarded(cfg *config) {
	if cfg.guarded() {
		return
	}
	if cfg.Audit.on() {
		s.section("audit").fail("nothing is recorded of callers who are not asked who they are", "add authentication and policy, or take audit away")
	}
	for _, listen := range []struct{ path, address string }{{"grpc.listen", cfg.GRPC.Listen}, {"gateway.listen", cfg.Gateway.Listen}} {
		// In plaintext that address is a mistake by itself.
		if host, _, err := net.SplitHostPort(listen.address); err == nil && !loopback(host) && !cfg.Plaintext {
			s.section("authentication").fail("nobody is asked who they are, and others than this machine can reach "+listen.path+", "+quote(listen.address),
				`add authentication and policy; if whoever reaches it may have every token, say so by a rule for the identity "anonymous"`)
		}
	}
}

// describeCallers says for people how callers are asked who they are.
func (c *config) describeCallers() string {
	if !c.guarded() {
		return "nobody is asked who they are"
	}
	var proofs []string
	if c.TLS.Own.CA != "" {
		names := make([]string, len(c.Authentication.Methods.Certificates.Names))
		for i, name := range c.Authentication.Methods.Certificates.Names {
			names[i] = string(name)
		}
		proofs = append(proofs, "certificates ("+strings.Join(names, ", ")+")")
	}
	for _, issuer := range c.Authentication.Methods.Issuers {
		proofs = append(proofs, "JWTs of "+issuer.Name)
	}
	if c.Authentication.TokenFile != "" {
		proofs = append(proofs, "static tokens in "+c.Authentication.TokenFile)
	}
	if len(c.Clients) > 0 {
		proofs = append(proofs, "client secrets")
	}
	if len(proofs) == 0 {
		proofs = append(proofs, "nothing")
	}
	return "known by " + enumerate(proofs, "and") + "; " + counted(len(c.Policy.Rules), "rule")
}

// grants reads the policy, and adds what the clients may do. It comes last, to warn of rules for what there is not: a rule that can do
// nothing would otherwise show in callers' refusals only. If the section is empty, its last rule taken away, the operator cannot have meant that
// everybody may have everything.
func (s *section) grants(cfg *config) policyConfig {
	if v, written := s.values["policy"]; written && !v.given && !s.overridden("policy") {
		v.fail("this section is empty", "write rules, or [] if nobody may have anything; without the section nobody may be asked who they are")
	}
	list := s.get("policy")
	p := policyConfig{Given: list.given, places: map[string]position{}}
	if list.given && list.node == nil {
		list.fail("a policy cannot be given outside the file", "write it into the file")
		return p
	}
	for _, item := range list.items() {
		sec := item.section()
		if !item.given {
			sec.fail("this element is empty", "give identities, tokens and verbs, or take the dash away")
			continue
		}
		if sec.broken {
			continue
		}
		rule := sec.grant(cfg)
		p.Rules, p.places[rule.Where] = append(p.Rules, rule), sec.at
	}
	for i, client := range cfg.Clients {
		where := fmt.Sprintf("clients[%d]", i)
		p.Rules = append(p.Rules, access.Rule{
			Where: where, Identities: []string{access.KindClient + client.Name}, Tokens: client.Tokens, Verbs: []access.Verb{access.Get, access.Report, access.List},
		})
		p.places[where] = s.values["clients"].at
	}
	if len(p.Rules) == 0 && (list.given || cfg.Authentication.Given) {
		list.warn("without a rule nobody may have anything", `write rules, such as - {identities: ["spiffe://example.org/*"], tokens: ["*"], verbs: [get, watch, report, list]}`)
	}
	return p
}

// grant reads one element of the list.
func (s *section) grant(cfg *config) access.Rule {
	identities, tokens, verbs := s.get("identities"), s.get("tokens"), s.get("verbs")
	r := access.Rule{Where: s.path}
	for _, item := range identities.items() {
		r.Identities = append(r.Identities, item.identityPattern(cfg))
	}
	if len(r.Identities) == 0 {
		identities.fail("the rule is for nobody", `list identities, or patterns such as "spiffe://example.org/*"`)
	}
	if r.Tokens = tokens.tokenPatterns(cfg.Tokens); len(r.Tokens) == 0 {
		tokens.fail("the rule is for no tokens", `list their names, or patterns such as "shop-*"`)
	}
	words := make([]string, len(access.Verbs))
	for i, verb := range access.Verbs {
		words[i] = string(verb)
	}
	all := slices.ContainsFunc(r.Tokens, func(text string) bool { p := token.NewPattern(text); return p.All() })
	for _, item := range verbs.items() {
		verb := access.Verb(item.oneOf("", words...))
		if verb == access.Resign && !all {
			item.warn("to resign is about no token, and needs a rule for all of them", `write tokens: ["*"], in a rule of its own`)
		}
		r.Verbs = append(r.Verbs, verb)
	}
	if len(r.Verbs) == 0 {
		verbs.fail("the rule allows nothing", "list verbs: "+enumerate(words, "or"))
	}
	s.end()
	return r
}

// tokenPatterns reads a list of names of tokens, and of patterns for them.
func (v value) tokenPatterns(all []tokenConfig) []string {
	var patterns []string
	for _, item := range v.items() {
		pattern := item.str("")
		if !tokenPattern.MatchString(pattern) {
			item.fail(quote(pattern)+" is neither a token's name nor a pattern", `write a name, or "*" for any characters: "shop-*"`)
		} else if !strings.Contains(pattern, "*") && !slices.ContainsFunc(all, func(t tokenConfig) bool { return t.Name == pattern }) {
			item.warn("no token is called "+quote(pattern), "compare it with the names under tokens")
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// identityPattern reads a pattern for callers, and warns if nobody can prove to be one of them.
func (v value) identityPattern(cfg *config) string {
	pattern := v.str("")
	kinds := access.KindsOf(pattern)
	if len(kinds) == 0 {
		v.fail(quote(pattern)+" matches no identity: "+access.ValidateIdentity("").Error(), `write, for instance, "spiffe://example.org/ns/web/*"`)
		return pattern
	}
	if !slices.ContainsFunc(kinds, func(kind string) bool { return cfg.lacking(kind, pattern) == "" }) {
		v.warn("nobody can be "+quote(pattern)+": "+cfg.lacking(kinds[0], pattern), "compare it with tls, authentication and clients, or take it away")
	}
	return pattern
}

// lacking says why no caller of this kind can match a pattern; empty if one can.
func (c *config) lacking(kind, pattern string) string {
	rest, exact := strings.TrimPrefix(pattern, kind), !strings.Contains(pattern, "*")
	if !strings.HasPrefix(pattern, kind) {
		rest, exact = "*", false // an asterisk stands for the kind, too
	}
	fixed, _, _ := strings.Cut(rest, "*")
	m := c.Authentication.Methods
	believes := func(name access.Name) bool { return slices.Contains(m.Certificates.Names, name) }
	if c.TLS.Own.CA == "" && (kind == access.KindSPIFFE || kind == access.KindDNS || kind == access.KindCN) {
		return "callers are not asked for certificates (tls.client_ca_file)"
	}
	switch kind {
	case access.KindSPIFFE:
		domain, _, whole := strings.Cut(fixed, "/")
		switch domains := m.Certificates.TrustDomains; {
		case !believes(access.SPIFFE):
			return "authentication.certificates.names has no spiffe"
		case whole && len(domains) > 0 && !slices.Contains(domains, domain):
			return "authentication.certificates.trust_domains has no " + quote(domain)
		}
	case access.KindDNS:
		if !believes(access.DNS) {
			return "authentication.certificates.names has no dns"
		}
	case access.KindCN:
		if !believes(access.CN) {
			return "authentication.certificates.names has no cn"
		}
	case access.KindJWT:
		name, _, whole := strings.Cut(fixed, ":")
		named := slices.ContainsFunc(m.Issuers, func(i access.Issuer) bool { return i.Name == name })
		switch {
		case len(m.Issuers) == 0:
			return "authentication.jwt has no issuer"
		case (whole || exact) && !named:
			return "no issuer under authentication.jwt is called " + quote(name)
		}
	case access.KindToken:
		switch {
		case c.Authentication.TokenFile == "":
			return "there is no authentication.token_file"
		case exact && m.Tokens != nil && !slices.ContainsFunc(m.Tokens, func(t access.StaticToken) bool { return t.Name == rest }):
			return "authentication.token_file has no caller of this name"
		}
	case access.KindClient:
		for i := range c.Clients {
			if !exact || c.Clients[i].Name == rest {
				return ""
			}
		}
		return "clients has none of this name"
	}
	return ""
}
