package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func configCommand(c console) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Work with configuration files", Args: cobra.NoArgs}
	cmd.AddCommand(validateCommand(c), exampleCommand(c))
	return cmd
}

func validateCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration, and show what would run",
		Long: `Checks a configuration file (default: ` + configVariable + `, or broker.yaml; - is standard input) together with the environment and the
flags, and prints everything that is wrong with it at once, or else a summary of what would run. Secrets are never printed.

Exit codes:
  0  the configuration can be used; there may be warnings
  1  it cannot
  64 the command line is wrong`,
		Args: cobra.MaximumNArgs(1),
	}
	src := newConfigSource(c, cmd)
	dry := cmd.Flags().Bool("no-secrets", false, "do not read secrets and certificates, which may be elsewhere")
	output := cmd.Flags().StringP("output", "o", asTable, "form of the output: table or json")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *output != asTable && *output != asJSON {
			return fmt.Errorf("output %q is not possible; write table or json", *output)
		}
		return nil
	}
	cmd.RunE = carryOut(func(_ context.Context, args []string) error {
		if len(args) > 0 {
			src.file = args[0]
		}
		cfg, warnings, err := src.load(*dry)
		var found problems
		if err != nil && !errors.As(err, &found) {
			return err
		}
		report := validation{Valid: err == nil, Problems: found, Warnings: warnings}
		if cfg != nil {
			s := summarize(cfg)
			report.Summary = &s
		}
		write := report.table
		if *output == asJSON {
			write = report.json
		}
		if err := write(c.out); err != nil {
			return err
		}
		if !report.Valid {
			return &outcome{code: exitFailed}
		}
		return nil
	})
	return cmd
}

// validation is what was found.
type validation struct {
	Valid    bool     `json:"valid"`
	Problems problems `json:"problems,omitempty"`
	Warnings problems `json:"warnings,omitempty"`
	Summary  *summary `json:"summary,omitempty"`
}

// json writes everything that was found for programs.
func (v validation) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table writes it for people: one line a problem, as compilers do, so that editors find the place.
func (v validation) table(w io.Writer) error {
	for _, p := range v.Problems {
		fmt.Fprintln(w, p)
	}
	for _, p := range v.Warnings {
		fmt.Fprintf(w, "%s (warning)\n", p)
	}
	if !v.Valid {
		_, err := fmt.Fprintf(w, "%s.\n", counted(len(v.Problems), "problem"))
		return err
	}
	if len(v.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	return v.Summary.table(w)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// summary is a configuration as it would run, without secrets.
type summary struct {
	Replica    string         `json:"replica"`
	Advertise  string         `json:"advertise,omitempty"`
	GRPC       string         `json:"grpc"`
	HTTP       string         `json:"http"`
	Gateway    string         `json:"gateway,omitempty"`
	Transport  string         `json:"transport"`
	Callers    string         `json:"callers"`
	Audit      string         `json:"audit,omitempty"`
	Etcd       string         `json:"etcd"`
	Namespace  string         `json:"namespace"`
	SessionTTL string         `json:"session_ttl"`
	Snapshot   string         `json:"snapshot,omitempty"`
	AtRest     string         `json:"at_rest"`
	Tokens     []tokenSummary `json:"tokens"`
	// Clients are who may use the gateway's WeChat-compatible paths.
	Clients []clientSummary `json:"clients,omitempty"`
}

type clientSummary struct {
	Name   string   `json:"name"`
	Tokens []string `json:"tokens"`
}

type tokenSummary struct {
	Name        string   `json:"name"`
	Upstream    string   `json:"upstream"`
	AppID       string   `json:"appid"`
	BaseURL     string   `json:"base_url,omitempty"`
	Secret      string   `json:"secret"`
	Refresh     []string `json:"refresh"`
	DailyBudget int64    `json:"daily_budget"`
	Reserve     int64    `json:"reserve"`
	Reports     string   `json:"reports"`
	Verify      string   `json:"verify,omitempty"`
}

func summarize(cfg *config) summary {
	s := summary{
		Replica: cfg.Replica.ID, Advertise: cfg.Replica.Advertise, GRPC: cfg.GRPC.Listen, HTTP: cfg.HTTP.Listen, Gateway: cfg.Gateway.Listen, Transport: cfg.TLS.describe(), Callers: cfg.describeCallers(), Audit: cfg.Audit.describe(),
		Etcd: strings.Join(cfg.Etcd.Endpoints, ", "), Namespace: cfg.Etcd.Namespace, SessionTTL: short(cfg.Election.SessionTTL), Snapshot: cfg.Snapshot.File,
		AtRest: cfg.Sealing.describe(cfg.PlaintextStore),
	}
	if e := cfg.Etcd.Embedded; e != nil {
		s.Etcd = fmt.Sprintf("embedded member %s of %s, data in %s", e.Name, counted(max(1, len(e.InitialCluster)), "member"), e.DataDir)
	}
	for _, t := range cfg.Tokens {
		s.Tokens = append(s.Tokens, t.summary())
	}
	for _, c := range cfg.Clients {
		s.Clients = append(s.Clients, clientSummary{c.Name, c.Tokens})
	}
	return s
}

// summary tells everything about a token but its secret.
func (t tokenConfig) summary() tokenSummary {
	s := tokenSummary{
		Name: t.Name, Upstream: t.Traits.Kind, AppID: t.WeChat.AppID, BaseURL: t.WeChat.BaseURL, Secret: t.SecretFrom,
		DailyBudget: t.Policy.DailyBudget, Reserve: t.Policy.Reserve,
		Refresh: []string{short(t.Policy.Ahead) + " ahead of expiry"},
		Reports: "verified",
	}
	for _, r := range t.Policy.Rules {
		s.Refresh = append(s.Refresh, r.Text)
	}
	if t.Policy.TrustReports {
		s.Reports = "trusted"
	}
	if t.Policy.Verify > 0 {
		s.Verify = "every " + short(t.Policy.Verify)
	}
	return s
}

func (s summary) table(w io.Writer) error {
	out := newTable(w)
	out.row("replica", s.Replica)
	if s.Advertise != "" {
		out.row("advertises", s.Advertise)
	}
	out.row("gRPC", s.GRPC)
	if s.Gateway != "" {
		out.row("gateway", s.Gateway)
	}
	out.row("metrics", s.HTTP)
	out.row("transport", s.Transport)
	out.row("callers", s.Callers)
	if s.Audit != "" {
		out.row("audit log", s.Audit)
	}
	out.row("etcd", s.Etcd)
	out.row("namespace", s.Namespace)
	out.row("session TTL", s.SessionTTL)
	if s.Snapshot != "" {
		out.row("snapshot", s.Snapshot)
	}
	out.row("at rest", s.AtRest)
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	out.row("TOKEN", "UPSTREAM", "APPID", "SECRET", "REFRESH", "BUDGET A DAY", "REPORTS")
	for _, t := range s.Tokens {
		reports := t.Reports
		if t.Verify != "" {
			reports += "; asked " + t.Verify
		}
		out.row(t.Name, t.Upstream, t.AppID, t.Secret, strings.Join(t.Refresh, ", "),
			fmt.Sprintf("%d, %d reserved", t.DailyBudget, t.Reserve), reports)
	}
	if len(s.Clients) > 0 {
		if err := out.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
		out.row("CLIENT", "MAY HAVE")
	}
	for _, c := range s.Clients {
		out.row(c.Name, strings.Join(c.Tokens, ", "))
	}
	return out.Flush()
}
