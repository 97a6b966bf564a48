package access

import (
	"fmt"
	"iter"
	"slices"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Rule allows: callers of these identities may do these things with these tokens. In patterns "*" stands for any characters.
type Rule struct {
	// Where is what the rule is called in decisions: where it was written, such as "policy[2]".
	Where string
	// Identities are patterns of identities. None but the literal "anonymous" matches Anonymous.
	Identities []string
	// Tokens are patterns of names of tokens.
	Tokens []string
	Verbs  []Verb
}

// Policy says who may do what. It does not change, and is safe for concurrent use.
type Policy struct {
	rules []rule
	// exact are, by identity and in order, the rules that name just this identity.
	exact map[Identity][]int
	// wild are the patterns with asterisks by their prefixes, in the order of their rules; lengths are those that prefixes have, ascending.
	// So a decision looks at the few rules that may be for an identity, however many there are.
	wild    map[string][]family
	lengths []int
}

// rule is a Rule made ready, but for its identities.
type rule struct {
	where  string
	tokens []token.Pattern
	verbs  uint8 // a bit for each
}

// family is a pattern of identities, and the rule that it stands in.
type family struct {
	pattern token.Pattern
	rule    int
}

// NewPolicy makes rules ready for use. What a rule lacks makes it an error; what it says in vain does not.
func NewPolicy(rules []Rule) (*Policy, error) {
	p := &Policy{rules: make([]rule, len(rules)), exact: map[Identity][]int{}, wild: map[string][]family{}}
	for i, r := range rules {
		if len(r.Identities) == 0 || len(r.Tokens) == 0 || len(r.Verbs) == 0 {
			return nil, fmt.Errorf("%s: a rule needs identities, tokens and verbs", r.Where)
		}
		made := rule{where: r.Where}
		for _, text := range r.Identities {
			pattern := token.NewPattern(text)
			if !pattern.Exact() {
				p.wild[pattern.Prefix()] = append(p.wild[pattern.Prefix()], family{pattern, i})
			} else if at := p.exact[Identity(text)]; !slices.Contains(at, i) {
				p.exact[Identity(text)] = append(at, i)
			}
		}
		for _, text := range r.Tokens {
			made.tokens = append(made.tokens, token.NewPattern(text))
		}
		for _, v := range r.Verbs {
			bit := v.bit()
			if bit == 0 {
				return nil, fmt.Errorf("%s: there is no verb %q", r.Where, string(v))
			}
			made.verbs |= bit
		}
		p.rules[i] = made
	}
	for prefix := range p.wild {
		if !slices.Contains(p.lengths, len(prefix)) {
			p.lengths = append(p.lengths, len(prefix))
		}
	}
	slices.Sort(p.lengths)
	return p, nil
}

// bit is the verb's place in a set of verbs, 0 for what is none.
func (v Verb) bit() uint8 {
	switch v {
	case Get:
		return 1
	case Watch:
		return 1 << 1
	case Report:
		return 1 << 2
	case List:
		return 1 << 3
	case Refresh:
		return 1 << 4
	case Resign:
		return 1 << 5
	case Status:
		return 1 << 6
	default:
		return 0
	}
}

// Decision is what a policy says of one call.
type Decision struct {
	Allowed bool
	// Rule is where the rule stands that allows it to Identity; empty if there is none.
	Rule string
	// Identity is the one that was decided by: the first that is refused or, if none is, the last.
	Identity Identity
}

// Decide says whether the caller may do this with the token of that name, whether there is such a token or not. What concerns no token
// in particular has the empty name, which only patterns for all tokens match; to resign never concerns one. It does not block, and
// does not allocate when the call is allowed.
func (p *Policy) Decide(c Caller, verb Verb, tokenName string) Decision {
	if verb == Resign {
		tokenName = ""
	}
	var d Decision
	for _, id := range c.Identities {
		at := p.find(id, verb.bit(), tokenName)
		if at < 0 {
			return Decision{Identity: id}
		}
		d = Decision{Allowed: true, Rule: p.rules[at].where, Identity: id}
	}
	return d
}

// find returns the first rule that allows it to this identity, -1 if none does.
func (p *Policy) find(id Identity, verb uint8, tokenName string) int {
	first := -1
	for _, i := range p.exact[id] {
		if p.rules[i].grants(verb, tokenName) {
			first = i
			break
		}
	}
	for f := range p.families(id) {
		if (first < 0 || f.rule < first) && p.rules[f.rule].grants(verb, tokenName) && f.pattern.Match(string(id)) {
			first = f.rule
		}
	}
	return first
}

// families yields the patterns with asterisks that may match an identity, by their prefixes.
func (p *Policy) families(id Identity) iter.Seq[*family] {
	return func(yield func(*family) bool) {
		if id == Anonymous {
			return
		}
		for _, n := range p.lengths {
			if n > len(id) {
				return
			}
			for i, list := 0, p.wild[string(id[:n])]; i < len(list); i++ {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// grants reports whether the rule allows it to those that it is for.
func (r *rule) grants(verb uint8, tokenName string) bool {
	return r.verbs&verb != 0 && r.covers(tokenName)
}

func (r *rule) covers(tokenName string) bool {
	for i := range r.tokens {
		if r.tokens[i].Match(tokenName) {
			return true
		}
	}
	return false
}
