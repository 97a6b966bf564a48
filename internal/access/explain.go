package access

import "slices"

// Reason is why one identity of a caller may or may not do something.
type Reason struct {
	Identity Identity `json:"identity"`
	Allowed  bool     `json:"allowed"`
	// Rule is where the rule stands that allows it or, if none does, the one that comes nearest; empty if none is for this identity.
	Rule string `json:"rule,omitempty"`
	// Text says it in words.
	Text string `json:"reason"`
}

// Explain says for each of the caller's identities what Decide goes by. The call is allowed if all of them may.
func (p *Policy) Explain(c Caller, verb Verb, tokenName string) []Reason {
	if verb == Resign {
		tokenName = ""
	}
	reasons := make([]Reason, len(c.Identities))
	for i, id := range c.Identities {
		reasons[i] = p.reason(id, verb, tokenName)
	}
	return reasons
}

func (p *Policy) reason(id Identity, verb Verb, tokenName string) Reason {
	if at := p.find(id, verb.bit(), tokenName); at >= 0 {
		where := p.rules[at].where
		return Reason{Identity: id, Allowed: true, Rule: where, Text: where + " allows it"}
	}
	// Of the rules for this identity the one comes nearest that has the token, and of those the first.
	nearest, covers := -1, false
	for _, i := range p.concerning(id) {
		if has := p.rules[i].covers(tokenName); nearest < 0 || has && !covers {
			nearest, covers = i, has
		}
	}
	if nearest < 0 {
		return Reason{Identity: id, Text: "no rule is for this identity"}
	}
	where := p.rules[nearest].where
	missing := "the token"
	switch {
	case covers:
		missing = "the verb " + string(verb)
	case tokenName == "":
		missing = `all tokens ("*"), which ` + string(verb) + " needs"
	}
	return Reason{Identity: id, Rule: where, Text: "no rule allows it; the nearest, " + where + ", lacks " + missing}
}

// concerning lists the rules that are for an identity, in order.
func (p *Policy) concerning(id Identity) []int {
	list := slices.Clone(p.exact[id])
	for f := range p.families(id) {
		if f.pattern.Match(string(id)) {
			list = append(list, f.rule)
		}
	}
	slices.Sort(list)
	return list
}
