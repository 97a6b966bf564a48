package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Exit codes of status.
const (
	statusNotActive = 1
	statusNoLeader  = 2
	statusCutOff    = 4 // 3 is exitUnavailable
)

// deathsShown is for how long the death of a token before its time is shown.
const deathsShown = 7 * 24 * time.Hour

// statusCommand asks one replica, which tells what it sees: with --server that of each replica can be compared.
func statusCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show replicas, leader and tokens, what went wrong, and what to do",
		Long: `Shows the cluster as one replica sees it: who leads, how fresh the view is, and each token with its schedule, budget and failures.

Exit codes:
  0  there is a leader, and every token is active
  1  some token is not active
  2  there is no leader
  3  no broker answers
  4  the broker that answers is cut off from etcd, and cannot know who leads; ask another
  6  the broker does not know who is calling
  7  it knows, and the caller may not see this
  64 the command line is wrong`,
		Args: cobra.NoArgs,
	}
	cl := newClient(c, cmd, 5*time.Second, asTable, asJSON)
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		var resp *tokenbrokerv1.GetStatusResponse
		err := cl.call(ctx, operatorConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
			resp, err = tokenbrokerv1.NewAdminServiceClient(conn).GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{}, opts...)
			return err
		})
		if err != nil {
			done := failed("status", err)
			if done.code != exitUnknown && done.code != exitDenied {
				done.code = exitUnavailable
			}
			return done
		}
		if cl.output == asJSON {
			err = writeJSON(c.out, resp, true)
		} else {
			err = writeStatus(c.out, c.now(), resp)
		}
		if err != nil {
			return err
		}
		return statusOutcome(resp)
	})
	return cmd
}

// statusOutcome turns what is amiss into an exit code; the output has said it in words.
func statusOutcome(resp *tokenbrokerv1.GetStatusResponse) error {
	switch {
	case !resp.GetReplica().GetInSync():
		return &outcome{code: statusCutOff}
	case resp.GetLeader() == nil:
		return &outcome{code: statusNoLeader}
	}
	for _, t := range resp.GetTokens() {
		if t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
			return &outcome{code: statusNotActive}
		}
	}
	return nil
}

// writeStatus writes the answer for people: the cluster, the tokens, and then for each token in trouble what happened and what to do.
func writeStatus(w io.Writer, now time.Time, s *tokenbrokerv1.GetStatusResponse) error {
	out := newTable(w)
	r := s.GetReplica()
	proved := "never proved current"
	if r.GetViewAge() != nil {
		proved = "proved current " + r.GetViewAge().AsDuration().Truncate(time.Millisecond).String() + " ago"
	}
	out.row("replica", fmt.Sprintf("%s at %s, %s, started %s", r.GetId(), r.GetAddress(), r.GetVersion(), relative(now, r.GetStartTime())))
	out.row("view", fmt.Sprintf("%s, revision %d", proved, r.GetRevision()))
	out.row("leader", leaderLine(now, s))
	if !r.GetInSync() {
		out.row("what to do", "ask another replica by --server who leads; see that this one reaches etcd, and that etcd has a quorum (its log says what fails)")
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if len(s.GetReplicas()) > 0 {
		fmt.Fprintln(w)
		out.row("REPLICA", "ADDRESS", "ROLE", "SINCE")
	}
	for _, r := range s.GetReplicas() {
		role := "stands by"
		switch {
		case r.GetLeading():
			role = "leads"
		case !s.GetReplica().GetInSync():
			role = "as last known"
		}
		out.row(r.GetId(), r.GetAddress(), role, relative(now, r.GetSince()))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	out.row("TOKEN", "STATE", "VERSION", "TTL", "EXPIRES", "FETCHED", "NEXT FETCH", "TODAY", "UPSTREAM")
	for _, t := range s.GetTokens() {
		out.row(t.GetName(), standing(t.GetState(), t.GetLocal()), itoa(int(t.GetVersion())),
			life(&tokenbrokerv1.Token{State: t.GetState(), Ttl: t.GetTtl()}), relative(now, t.GetExpireTime()), relative(now, t.GetLastRefreshTime()),
			nextFetch(now, t), fmt.Sprintf("%d of %d", t.GetFetchesToday(), t.GetDailyBudget()), t.GetUpstream())
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, t := range s.GetTokens() {
		writeTrouble(w, now, t)
	}
	return nil
}

// leaderLine says who leads, or why that is not said.
func leaderLine(now time.Time, s *tokenbrokerv1.GetStatusResponse) string {
	l, r := s.GetLeader(), s.GetReplica()
	switch {
	case !r.GetInSync() && r.GetViewAge() != nil:
		return "cut off from etcd for " + span(r.GetViewAge().AsDuration()) + ": leader unknown"
	case !r.GetInSync():
		return "cut off from etcd: leader unknown"
	case l == nil:
		return "none: nobody fetches; tokens are served until their end"
	default:
		return fmt.Sprintf("%s at %s, term %d, since %s", l.GetId(), l.GetAddress(), l.GetTerm(), relative(now, l.GetSince()))
	}
}

// nextFetch says when the leader means to fetch, and why then. Only the leader knows how long it still waits after a failure.
func nextFetch(now time.Time, t *tokenbrokerv1.TokenStatus) string {
	next := t.GetNextRefreshTime()
	if next == nil {
		return "-"
	}
	when := relative(now, next)
	switch due := next.AsTime().Sub(now) < time.Second; {
	case quietFor(now, t) >= time.Second && !t.GetQuietUntil().AsTime().Before(next.AsTime()):
		when += " at the earliest"
	case due && t.GetConsecutiveFailures() > 0:
		when = "due, after " + counted(int(t.GetConsecutiveFailures()), "failure")
	}
	return when + ": " + t.GetNextRefreshReason()
}

// recentDeath reports whether a death is of late: nobody can acknowledge one, so that it is shown for a while only.
func recentDeath(now time.Time, deaths *tokenbrokerv1.EarlyDeaths) bool {
	return deaths != nil && now.Sub(deaths.GetLastTime().AsTime()) < deathsShown
}

// writeTrouble says what is or was wrong with a token, and what to do.
func writeTrouble(w io.Writer, now time.Time, t *tokenbrokerv1.TokenStatus) {
	line := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
	f := t.GetLastFailure()
	deaths := t.GetEarlyDeaths()
	died := recentDeath(now, deaths)
	if f == nil && !died && !t.GetPending() && !t.GetDoubt() && !t.GetCondemned() && !t.GetLocal() {
		return
	}
	fmt.Fprintf(w, "\n%s\n", t.GetName())
	if t.GetLocal() {
		line("this replica fetched it alone, cut off from etcd; what the leader fetches next replaces it")
	}
	if t.GetCondemned() {
		line("the upstream confirmed that the current token is dead before its time")
	}
	if died {
		line("found dead before its time %s, last %s: %s", counted(int(deaths.GetCount()), "time"), relative(now, deaths.GetLastTime()), deaths.GetMeaning())
		line("what to do: %s", deaths.GetRemedy())
		line("(this is shown for %d days after the last one)", deathsShown/(24*time.Hour))
	}
	if t.GetDoubt() {
		line("a fetch with an unknown outcome may have replaced the token; the next success settles it")
	}
	if t.GetPending() {
		line("a fetch is under way, or its outcome is not known yet")
	}
	if f == nil {
		return
	}
	at := relative(now, f.GetTime())
	if f.GetReplica() != "" {
		at += " at " + f.GetReplica()
	}
	line("last failure %s: %s (%s): %s", at, f.GetCode(), f.GetClass(), f.GetMeaning())
	switch n := t.GetConsecutiveFailures(); {
	case n > 0:
		line("%d in a row since the last success", n)
	case f.GetRemedy() != "":
		line("fetched successfully since, but not by that replica")
	default:
		line("fetched successfully since")
	}
	if f.GetMessage() != "" {
		line("the upstream said: %s", f.GetMessage())
	}
	if f.GetRemedy() != "" {
		line("what to do: %s", f.GetRemedy())
	}
}
