package main

import (
	"errors"
	"slices"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// maxTokenFile bounds what is read of a file of static tokens: some ten thousand callers.
const maxTokenFile = 1 << 20

// authenticationConfig says how callers may prove who they are.
type authenticationConfig struct {
	// Given: there is such a section. Without it certificates by SPIFFE id are the only proof, besides the clients' secrets.
	Given bool
	// Methods are complete but for the logger; after a dry run they lack the static tokens.
	Methods access.Config
	// TokenFile is where the static tokens were read; empty if there are none.
	TokenFile string
}

// authentication reads the section of that name. If it is empty, the operator cannot have meant that nobody is asked.
func (s *section) authentication() authenticationConfig {
	if v, written := s.values["authentication"]; written && !v.given && !s.overridden("authentication") {
		v.fail("this section is empty", "say how callers prove who they are, or take it away; {} stands for client certificates with SPIFFE ids")
	}
	sec := s.section("authentication")
	c := authenticationConfig{Given: sec.present}
	c.Methods.Certificates = sec.section("certificates").certificates()
	c.Methods.Issuers = sec.get("jwt").issuers()
	file := sec.get("token_file")
	c.TokenFile = file.str("")
	if file.given && c.TokenFile == "" {
		file.fail("this is required", "name a file, or take the field away")
	} else if file.given && !s.dry {
		c.Methods.Tokens = file.staticTokens(c.TokenFile)
	}
	sec.end()
	return c
}

// certificates reads which names of client certificates are believed.
func (s *section) certificates() access.Certificates {
	names, domains := s.get("names"), s.get("trust_domains")
	c := access.Certificates{Names: []access.Name{access.SPIFFE}}
	if names.given {
		c.Names = nil
	}
	for _, item := range names.items() {
		name := access.Name(item.oneOf("", string(access.SPIFFE), string(access.DNS), string(access.CN)))
		if slices.Contains(c.Names, name) {
			item.fail(quote(string(name))+" stands here twice", "keep one of them")
		}
		c.Names = append(c.Names, name)
	}
	if names.given && len(c.Names) == 0 {
		names.fail("no kind of name is believed", "write spiffe, dns or cn, or take the field away")
		c.Names = []access.Name{access.SPIFFE}
	}
	for _, item := range domains.items() {
		domain := item.str("")
		if err := access.ValidateTrustDomain(domain); err != nil {
			item.fail(err.Error(), "write, for instance, example.org")
		}
		c.TrustDomains = append(c.TrustDomains, domain)
	}
	if len(c.TrustDomains) > 0 && !slices.Contains(c.Names, access.SPIFFE) {
		domains.warn("SPIFFE ids are not believed, so that their trust domains do not matter", "add spiffe to names")
	}
	s.end()
	return c
}

// issuers reads the list of those whose JSON Web Tokens are taken.
func (v value) issuers() []access.Issuer {
	if v.given && v.node == nil {
		v.fail("issuers cannot be given outside the file", "write them into the file")
		return nil
	}
	var (
		list []access.Issuer
		seen = map[string]position{}
	)
	for _, item := range v.items() {
		sec := item.section()
		if !item.given {
			sec.fail("this element is empty", "give name, issuer and audiences, or take the dash away")
			continue
		}
		if sec.broken {
			continue
		}
		before := len(sec.problems)
		i := sec.issuer()
		for _, field := range []struct{ key, text string }{{"name", i.Name}, {"issuer", i.Issuer}} {
			if at, taken := seen[field.key+" "+field.text]; taken && field.text != "" {
				sec.get(field.key).fail("the element on line "+itoa(at.Line)+" has the same "+field.key, "have one element for each issuer, with a name of its own")
			}
			seen[field.key+" "+field.text] = sec.at
		}
		if len(sec.problems) == before {
			list = append(list, i)
		}
	}
	return list
}

// issuer reads one element of the list, and tries the files that it names.
func (s *section) issuer() access.Issuer {
	name, iss, audiences, claim := s.get("name"), s.get("issuer"), s.get("audiences"), s.get("claim")
	i := access.Issuer{
		Name: name.required("name the issuer; its callers are called jwt:NAME:..."), Issuer: iss.required("write the claim iss of its tokens"), Claim: claim.str("sub"),
	}
	if i.Name != "" && !access.CallerName.MatchString(i.Name) {
		name.fail(quote(i.Name)+" cannot be an issuer's name", "write letters, digits, '.', '_' and '-'")
	}
	if i.Claim == "" {
		claim.fail("a claim must name the caller", "write sub, or take the field away")
	}
	for _, item := range audiences.items() {
		i.Audiences = append(i.Audiences, item.required("write the claim aud for which tokens are made"))
	}
	if len(i.Audiences) == 0 {
		audiences.fail("it is not said for whom its tokens must be made", "write the claim aud that callers ask for, such as [tokenbroker]")
	}
	i.Keys = s.keySource(iss, i.Issuer)
	s.end()
	return i
}

// keySource reads where the keys of the issuer are: in a file, or where OIDC discovery tells.
func (s *section) keySource(iss value, issuer string) access.KeySource {
	file, discovery, ca, bearer := s.get("jwks_file"), s.get("discovery"), s.get("ca_file"), s.get("bearer_token_file")
	k := access.KeySource{File: file.str(""), Discovery: discovery.str(issuer), CAFile: ca.str(""), BearerTokenFile: bearer.str("")}
	if file.given {
		k.Discovery = ""
		for _, other := range []value{discovery, ca, bearer} {
			if other.given {
				other.fail("this is for OIDC discovery, and jwks_file says that the keys are in a file", "take one of them away")
			}
		}
		if !s.dry {
			file.keyFile(k.File)
		}
		return k
	}
	if err := access.ValidateDiscovery(k.Discovery); discovery.given && err != nil {
		discovery.fail(err.Error(), "write, for instance, https://kubernetes.default.svc")
	} else if issuer != "" && err != nil {
		iss.fail("its keys cannot be found there: "+err.Error(), "say where they are by discovery or jwks_file")
	}
	if s.dry {
		return k
	}
	if ca.given {
		if _, err := (tlsFiles{CA: k.CAFile}).authorities(); err != nil {
			ca.fail("the file named here "+err.Error(), "let it hold the authorities' certificates in PEM form")
		}
	}
	if bearer.given {
		bearer.secretFile(k.BearerTokenFile)
	}
	return k
}

// keyFile tries a file with a JSON Web Key Set.
func (v value) keyFile(path string) {
	data, _, err := readSmall(path, maxCertificates)
	if err != nil {
		v.fail("the file named here "+fileTrouble(err), "let it hold the issuer's JSON Web Key Set")
	} else if err := access.ParseKeys(data); err != nil {
		v.fail("the file named here is of no use: "+err.Error(), "let it hold the issuer's public keys as a JSON Web Key Set")
	}
}

// staticTokens reads the file of static tokens. Who can write it can make himself anybody.
func (v value) staticTokens(path string) []access.StaticToken {
	data, mode, err := readSmall(path, maxTokenFile)
	switch {
	case err != nil:
		v.fail("the file named here "+fileTrouble(err), "let it hold the lines that broker caller create prints")
		return nil
	case mode&0o002 != 0:
		v.fail("every user of this machine can write the file named here", "chmod 600 it")
		return nil
	}
	v.warnOfReaders(mode)
	tokens, err := access.ParseTokens(data)
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		for _, e := range all.Unwrap() {
			if line := (*access.LineError)(nil); errors.As(e, &line) {
				v.fail("line "+itoa(line.Line)+" of the file named here: "+line.What, line.Remedy)
			}
		}
		return nil
	}
	if len(tokens) == 0 {
		v.warn("the file named here has no caller in it", "broker caller create prints a line for it")
	}
	return tokens
}
