package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func policyCommand(c console) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Work with the policy of a configuration", Args: cobra.NoArgs}
	cmd.AddCommand(policyTestCommand(c))
	return cmd
}

// policyQuestion is what policy test is asked.
type policyQuestion struct {
	identities        []string
	token, verb, form string
}

func policyTestCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Say what a caller may do with a token, and which rule says so",
		Long: `Says what the policy of a configuration (default: ` + configVariable + `, or broker.yaml; - is standard input) allows a caller to do with a
token, and which rule decides. Give --identity for each thing that the caller proves: all of them must be allowed. Without one the caller
is anonymous. No broker is asked, and no secret is read.

Exit codes:
  0  the caller may do what --verb says
  1  the configuration cannot be used
  7  the caller may not
  64 the command line is wrong`,
		Example: "  broker policy test --identity spiffe://example.org/ns/web/sa/shop --token shop",
		Args:    cobra.NoArgs,
	}
	src := newConfigSource(c, cmd)
	var q policyQuestion
	cmd.Flags().StringVarP(&src.file, "config", "c", "", "the configuration file (env "+configVariable+", default "+defaultConfig+")")
	cmd.Flags().StringArrayVar(&q.identities, "identity", nil, "who calls: spiffe://..., dns:..., cn:..., jwt:ISSUER:..., token:..., client:...; several are one caller")
	cmd.Flags().StringVar(&q.token, "token", "", "the token's name")
	cmd.Flags().StringVar(&q.verb, "verb", string(access.Get), "what the exit code is about: "+verbList("or"))
	cmd.Flags().StringVarP(&q.form, "output", "o", asTable, "form of the output: table or json")
	cmd.PreRunE = func(*cobra.Command, []string) error { return q.check() }
	cmd.RunE = carryOut(func(context.Context, []string) error {
		cfg, _, err := src.load(true)
		if err != nil {
			return err
		}
		answer, err := q.ask(cfg)
		if err != nil {
			return err
		}
		write := answer.table
		if q.form == asJSON {
			write = answer.json
		}
		if err := write(c.out); err != nil {
			return err
		}
		if !answer.Allowed {
			return &outcome{code: exitDenied}
		}
		return nil
	})
	return cmd
}

// verbList lists the verbs for people.
func verbList(last string) string {
	words := make([]string, len(access.Verbs))
	for i, v := range access.Verbs {
		words[i] = string(v)
	}
	return enumerate(words, last)
}

// check looks at the command line.
func (q *policyQuestion) check() error {
	for _, id := range q.identities {
		if err := access.ValidateIdentity(id); err != nil {
			return fmt.Errorf("%s is no identity: %w", quote(id), err)
		}
		if id == string(access.Anonymous) && len(q.identities) > 1 {
			return errors.New("who proves something is not anonymous")
		}
	}
	if len(q.identities) == 0 {
		q.identities = []string{string(access.Anonymous)}
	}
	switch verb := access.Verb(q.verb); {
	case !slices.Contains(access.Verbs, verb):
		return fmt.Errorf("verb %s is not possible; write %s", quote(q.verb), verbList("or"))
	case q.token == "" && verb != access.Resign && verb != access.Status && verb != access.List:
		return fmt.Errorf("to %s is about a token; name it by --token", verb)
	case q.form != asTable && q.form != asJSON:
		return fmt.Errorf("output %s is not possible; write table or json", quote(q.form))
	}
	if q.token != "" {
		return token.ValidateName(q.token)
	}
	return nil
}

// policyAnswer is what a policy says of a caller and a token.
type policyAnswer struct {
	Identities []access.Identity `json:"identities"`
	Token      string            `json:"token,omitempty"`
	Verb       access.Verb       `json:"verb"`
	Allowed    bool              `json:"allowed"`
	// Guarded is false if callers are not asked who they are: then everything is allowed.
	Guarded bool     `json:"guarded"`
	Notes   []string `json:"notes,omitempty"`
	// Verbs say it for each verb; empty if nothing is guarded.
	Verbs []verbAnswer `json:"verbs,omitempty"`
}

type verbAnswer struct {
	Verb    access.Verb    `json:"verb"`
	Allowed bool           `json:"allowed"`
	Reasons []policyReason `json:"reasons"`
}

type policyReason struct {
	access.Reason
	// At is where the rule stands.
	At *position `json:"at,omitempty"`
}

// ask puts the question to the policy of a configuration.
func (q *policyQuestion) ask(cfg *config) (policyAnswer, error) {
	a := policyAnswer{Token: q.token, Verb: access.Verb(q.verb), Guarded: cfg.guarded()}
	for _, id := range q.identities {
		a.Identities = append(a.Identities, access.Identity(id))
		for _, kind := range access.KindsOf(id) {
			if why := cfg.lacking(kind, id); why != "" {
				a.Notes = append(a.Notes, "nobody can be "+id+": "+why)
			}
		}
	}
	if q.token != "" && !slices.ContainsFunc(cfg.Tokens, func(t tokenConfig) bool { return t.Name == q.token }) {
		a.Notes = append(a.Notes, "there is no token "+q.token+"; who may have it would be told NOT_FOUND")
	}
	if !a.Guarded {
		a.Allowed = true
		a.Notes = append(a.Notes, "nothing is configured of authentication, policy and clients: every caller may do everything")
		return a, nil
	}
	policy, err := access.NewPolicy(cfg.Policy.Rules)
	if err != nil {
		return a, err
	}
	caller := access.Caller{Identities: a.Identities}
	for _, verb := range access.Verbs {
		v := verbAnswer{Verb: verb, Allowed: policy.Decide(caller, verb, q.token).Allowed}
		for _, reason := range policy.Explain(caller, verb, q.token) {
			r := policyReason{Reason: reason}
			if at, ok := cfg.Policy.places[reason.Rule]; ok {
				r.At = &at
			}
			v.Reasons = append(v.Reasons, r)
		}
		if verb == a.Verb {
			a.Allowed = v.Allowed
		}
		a.Verbs = append(a.Verbs, v)
	}
	return a, nil
}

func (a policyAnswer) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(a)
}

// table writes the answer, and then what is said of every verb.
func (a policyAnswer) table(w io.Writer) error {
	words := make([]string, len(a.Identities))
	for i, id := range a.Identities {
		words[i] = string(id)
	}
	may := "may not"
	if a.Allowed {
		may = "may"
	}
	fmt.Fprintf(w, "%s %s %s.\n", strings.Join(words, " + "), may, strings.TrimSpace(string(a.Verb)+" "+a.Token))
	for _, note := range a.Notes {
		fmt.Fprintf(w, "Note: %s.\n", note)
	}
	if len(a.Verbs) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	out := newTable(w)
	out.row("VERB", "ALLOWED", "IDENTITY", "BECAUSE", "AT")
	for _, v := range a.Verbs {
		allowed := "no"
		if v.Allowed {
			allowed = "yes"
		}
		for i, r := range v.Reasons {
			at := ""
			if r.At != nil {
				at = r.At.String()
			}
			if i == 0 {
				out.row(string(v.Verb), allowed, string(r.Identity), r.Text, at)
			} else {
				out.row("", "", string(r.Identity), r.Text, at)
			}
		}
	}
	return out.Flush()
}
