package access_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// policy makes rules ready, called as they are in a configuration.
func policy(tb testing.TB, rules ...access.Rule) *access.Policy {
	tb.Helper()
	p, err := access.NewPolicy(named(rules))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func named(rules []access.Rule) []access.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Where = "policy[" + string(rune('0'+i)) + "]"
	}
	return rules
}

func who(ids ...access.Identity) access.Caller { return access.Caller{Identities: ids} }

func TestWhatNoRuleAllowsIsDenied(t *testing.T) {
	p := policy(t)
	for _, verb := range access.Verbs {
		if d := p.Decide(who("spiffe://example.org/shop"), verb, "shop"); d.Allowed || d.Rule != "" || d.Identity != "spiffe://example.org/shop" {
			t.Errorf("%s without rules: %+v", verb, d)
		}
	}
	if d := p.Decide(who(), access.Get, "shop"); d.Allowed {
		t.Error("a caller without identities may do something")
	}
	p = policy(t, access.Rule{Identities: []string{"*"}, Tokens: []string{"*"}, Verbs: access.Verbs})
	if d := p.Decide(who("token:a"), "fetch", "shop"); d.Allowed {
		t.Error("a verb that there is not is allowed")
	}
}

func TestRuleNeedsIdentityTokenAndVerb(t *testing.T) {
	p := policy(t,
		access.Rule{Identities: []string{"spiffe://example.org/web/*"}, Tokens: []string{"shop", "wallet-*"}, Verbs: []access.Verb{access.Get, access.Watch}},
		access.Rule{Identities: []string{"token:ops", "jwt:k8s:*"}, Tokens: []string{"*"}, Verbs: []access.Verb{access.Status, access.Resign, access.Get}},
		access.Rule{Identities: []string{"token:ops"}, Tokens: []string{"shop"}, Verbs: []access.Verb{access.Refresh, access.Resign}},
		access.Rule{Identities: []string{"spiffe://example.org/web/till"}, Tokens: []string{"shop"}, Verbs: []access.Verb{access.Get, access.Report}},
	)
	for _, tc := range []struct {
		id    access.Identity
		verb  access.Verb
		token string
		rule  string // empty: denied
	}{
		{"spiffe://example.org/web/till", access.Get, "shop", "policy[0]"},
		{"spiffe://example.org/web/till", access.Report, "shop", "policy[3]"},
		{"spiffe://example.org/web/till", access.Watch, "wallet-7", "policy[0]"},
		{"spiffe://example.org/web/till", access.Get, "wallet", ""},
		{"spiffe://example.org/web/till", access.Get, "", ""},
		{"spiffe://example.org/web", access.Get, "shop", ""},
		{"spiffe://example.com/web/till", access.Get, "shop", ""},
		{"token:ops", access.Status, "", "policy[1]"},
		{"token:ops", access.Resign, "", "policy[1]"},
		{"token:ops", access.Resign, "shop", "policy[1]"},
		{"token:ops", access.Refresh, "shop", "policy[2]"},
		{"token:ops", access.Refresh, "wallet", ""},
		{"token:ops2", access.Status, "", ""},
		{"jwt:k8s:system:serviceaccount:a:b", access.Get, "any", "policy[1]"},
		{"jwt:k8s2:system:serviceaccount:a:b", access.Get, "any", ""},
		{"TOKEN:ops", access.Get, "any", ""},
	} {
		want := access.Decision{Allowed: tc.rule != "", Rule: tc.rule, Identity: tc.id}
		if diff := cmp.Diff(want, p.Decide(who(tc.id), tc.verb, tc.token)); diff != "" {
			t.Errorf("%s %s %q (-want +got):\n%s", tc.id, tc.verb, tc.token, diff)
		}
	}
}

func TestResigningNeedsARuleForAllTokens(t *testing.T) {
	p := policy(t, access.Rule{Identities: []string{"token:*"}, Tokens: []string{"s*", "*p", "shop"}, Verbs: access.Verbs})
	if p.Decide(who("token:a"), access.Resign, "shop").Allowed || p.Decide(who("token:a"), access.Resign, "").Allowed {
		t.Error("a rule for some tokens allows to resign")
	}
}

func TestAnonymousIsMatchedByItsNameOnly(t *testing.T) {
	for _, pattern := range []string{"*", "a*", "*s", "anonymous*", "*anonymous*", "Anonymous"} {
		p := policy(t, access.Rule{Identities: []string{pattern}, Tokens: []string{"*"}, Verbs: access.Verbs})
		if p.Decide(who(access.Anonymous), access.Get, "shop").Allowed {
			t.Errorf("%q lets in callers without credentials", pattern)
		}
		if r := p.Explain(who(access.Anonymous), access.Get, "shop")[0]; r.Allowed || r.Rule != "" {
			t.Errorf("%q is explained as %+v", pattern, r)
		}
	}
	p := policy(t, access.Rule{Identities: []string{"token:a", "anonymous"}, Tokens: []string{"*"}, Verbs: []access.Verb{access.List}})
	if !p.Decide(who(access.Anonymous), access.List, "").Allowed {
		t.Error("the name itself does not let them in")
	}
}

func TestEachIdentityOfACallerMustBeAllowed(t *testing.T) {
	p := policy(t,
		access.Rule{Identities: []string{"spiffe://*"}, Tokens: []string{"shop"}, Verbs: []access.Verb{access.Get, access.Watch}},
		access.Rule{Identities: []string{"token:*"}, Tokens: []string{"*"}, Verbs: []access.Verb{access.Get}},
	)
	both := who("spiffe://example.org/web", "token:a")
	if d := p.Decide(both, access.Get, "shop"); d != (access.Decision{Allowed: true, Rule: "policy[1]", Identity: "token:a"}) {
		t.Errorf("what both may is %+v", d)
	}
	if d := p.Decide(both, access.Get, "wallet"); d != (access.Decision{Identity: "spiffe://example.org/web"}) {
		t.Errorf("what the first may not is %+v", d)
	}
	if d := p.Decide(both, access.Watch, "shop"); d != (access.Decision{Identity: "token:a"}) {
		t.Errorf("what the second may not is %+v", d)
	}
}

func TestRuleThatLacksSomethingIsAnError(t *testing.T) {
	whole := access.Rule{Identities: []string{"token:a"}, Tokens: []string{"*"}, Verbs: []access.Verb{access.Get}}
	for _, spoil := range []func(*access.Rule){
		func(r *access.Rule) { r.Identities = nil },
		func(r *access.Rule) { r.Tokens = nil },
		func(r *access.Rule) { r.Verbs = nil },
		func(r *access.Rule) { r.Verbs = []access.Verb{access.Get, "steal"} },
	} {
		r := whole
		spoil(&r)
		if _, err := access.NewPolicy(named([]access.Rule{whole, r})); err == nil || !strings.Contains(err.Error(), "policy[1]") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestExplanationNamesTheRuleThatIsNearest(t *testing.T) {
	p := policy(t,
		access.Rule{Identities: []string{"token:a"}, Tokens: []string{"wallet"}, Verbs: []access.Verb{access.Get}},
		access.Rule{Identities: []string{"token:*"}, Tokens: []string{"shop"}, Verbs: []access.Verb{access.Watch}},
	)
	got := p.Explain(who("token:a", "token:b", "dns:c"), access.Get, "shop")
	want := []access.Reason{
		{Identity: "token:a", Rule: "policy[1]", Text: "no rule allows it; the nearest, policy[1], lacks the verb get"},
		{Identity: "token:b", Rule: "policy[1]", Text: "no rule allows it; the nearest, policy[1], lacks the verb get"},
		{Identity: "dns:c", Text: "no rule is for this identity"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for verb, text := range map[access.Verb]string{
		access.Get:    "policy[0] allows it",
		access.Report: "no rule allows it; the nearest, policy[0], lacks the verb report",
		access.Resign: `no rule allows it; the nearest, policy[0], lacks all tokens ("*"), which resign needs`,
	} {
		if got := p.Explain(who("token:a"), verb, "wallet")[0].Text; got != text {
			t.Errorf("%s: %s", verb, got)
		}
	}
	if got := p.Explain(who("token:a"), access.Get, "till")[0].Text; got != "no rule allows it; the nearest, policy[0], lacks the token" {
		t.Error(got)
	}
}

// rules draws rules of few words, so that they meet.
func rules(t *rapid.T) []access.Rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) access.Rule {
		return access.Rule{
			Identities: rapid.SliceOfN(rapid.SampledFrom([]string{"*", "token:*", "token:a", "dns:*.b", "*a", "anonymous", "cn:c"}), 1, 3).Draw(t, "identities"),
			Tokens:     rapid.SliceOfN(rapid.SampledFrom([]string{"*", "shop", "shop-*", "*1"}), 1, 2).Draw(t, "tokens"),
			Verbs:      rapid.SliceOfN(rapid.SampledFrom(access.Verbs), 1, 3).Draw(t, "verbs"),
		}
	}), 0, 9).Draw(t, "rules")
}

func TestDecisionIsWhatTheRulesSayOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := named(rules(t))
		ids := rapid.SliceOfN(rapid.SampledFrom([]access.Identity{"token:a", "token:b", "dns:a.b", "cn:c", access.Anonymous}), 1, 3).Draw(t, "caller")
		verb := rapid.SampledFrom(access.Verbs).Draw(t, "verb")
		name := rapid.SampledFrom([]string{"", "shop", "shop-1", "wallet"}).Draw(t, "token")
		p, err := access.NewPolicy(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.Decide(who(ids...), verb, name), plainly(list, ids, verb, name); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i, r := range p.Explain(who(ids...), verb, name) {
			if want := plainly(list, ids[i:i+1], verb, name); r.Allowed != want.Allowed || r.Allowed && r.Rule != want.Rule || r.Text == "" {
				t.Errorf("%+v, but decided is %+v", r, want)
			}
		}
	})
}

// plainly decides without any preparation.
func plainly(list []access.Rule, ids []access.Identity, verb access.Verb, name string) access.Decision {
	if verb == access.Resign {
		name = ""
	}
	var d access.Decision
	for _, id := range ids {
		at := slices.IndexFunc(list, func(r access.Rule) bool {
			return slices.Contains(r.Verbs, verb) && slices.ContainsFunc(r.Tokens, func(p string) bool { return stands(p, name) }) &&
				slices.ContainsFunc(r.Identities, func(p string) bool {
					return p == string(id) || id != access.Anonymous && stands(p, string(id))
				})
		})
		if at < 0 {
			return access.Decision{Identity: id}
		}
		d = access.Decision{Allowed: true, Rule: list[at].Where, Identity: id}
	}
	return d
}

// stands is the definition of a pattern.
func stands(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return stands(pattern[1:], text) || text != "" && stands(pattern, text[1:])
	default:
		return text != "" && pattern[0] == text[0] && stands(pattern[1:], text[1:])
	}
}

func TestAllowedCallCostsNoMemory(t *testing.T) {
	p, c := hundredRules(t)
	if n := testing.AllocsPerRun(1000, func() { p.Decide(c, access.Get, "wallet-7") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// hundredRules is a policy whose last rule is the one that allows the caller to have wallet-7: the longest way.
func hundredRules(tb testing.TB) (*access.Policy, access.Caller) {
	tb.Helper()
	var list []access.Rule
	for i := range 100 {
		list = append(list, access.Rule{
			Identities: []string{"spiffe://example.org/ns/team-" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "/*"},
			Tokens:     []string{"shop", "wallet-*"}, Verbs: []access.Verb{access.Get, access.Watch, access.Report},
		})
	}
	p := policy(tb, list...)
	c := who("spiffe://example.org/ns/team-dv/sa/till")
	if d := p.Decide(c, access.Get, "wallet-7"); !d.Allowed || d.Rule != "policy["+string(rune('0'+99))+"]" {
		tb.Fatalf("decided is %+v", d)
	}
	return p, c
}

func BenchmarkDecideByTheLastOfAHundredRules(b *testing.B) {
	p, c := hundredRules(b)
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(c, access.Get, "wallet-7")
	}
}
