package token

import "strings"

// Pattern is a text in which "*" stands for any characters, none included; every other character stands for itself. It is the one
// kind of pattern there is, for names of tokens and for identities of callers. The zero Pattern matches the empty text only.
type Pattern struct {
	// The pattern's text is prefix*inner[0]*...*suffix, or prefix alone if it is exact.
	prefix, suffix string
	inner          []string
	wild           bool
}

// NewPattern reads a pattern. Every text is one.
func NewPattern(text string) Pattern {
	first := strings.IndexByte(text, '*')
	if first < 0 {
		return Pattern{prefix: text}
	}
	last := strings.LastIndexByte(text, '*')
	p := Pattern{prefix: text[:first], suffix: text[last+1:], wild: true}
	if first < last {
		p.inner = strings.Split(text[first+1:last], "*")
	}
	return p
}

// Exact reports whether only one text matches: there is no asterisk.
func (p *Pattern) Exact() bool { return !p.wild }

// Prefix is what every text that matches begins with: the pattern up to its first asterisk.
func (p *Pattern) Prefix() string { return p.prefix }

// All reports whether every text matches.
func (p *Pattern) All() bool {
	return p.wild && p.prefix == "" && p.suffix == "" && strings.Join(p.inner, "") == ""
}

// Match reports whether the pattern stands for the whole text. It does not allocate, and takes time in proportion to both lengths at
// worst.
func (p *Pattern) Match(text string) bool {
	if !p.wild {
		return text == p.prefix
	}
	if len(text) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(text, p.prefix) || !strings.HasSuffix(text, p.suffix) {
		return false
	}
	// The first place where a part fits leaves the most room for those after it.
	rest := text[len(p.prefix) : len(text)-len(p.suffix)]
	for _, part := range p.inner {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return true
}
