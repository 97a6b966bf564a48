package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// GetStatus implements the method of that name: of the replica and the cluster whole, and of the tokens those whose status the caller may see.
// It never blocks and asks nobody: it is for the hour in which nothing answers.
func (s *Server) GetStatus(ctx context.Context, _ *tokenbrokerv1.GetStatusRequest) (*tokenbrokerv1.GetStatusResponse, error) {
	tokens, err := s.shown(visitOf(ctx))
	if err != nil {
		return nil, err
	}
	election := s.election()
	response := &tokenbrokerv1.GetStatusResponse{
		Replica: &tokenbrokerv1.ReplicaStatus{
			Id:        s.cfg.ReplicaID,
			Address:   s.cfg.Address,
			Version:   s.cfg.Version,
			StartTime: timestamp(s.cfg.Started),
			Leading:   s.leads(election),
			Revision:  s.view.Revision(),
			InSync:    s.view.InSync(),
		},
		Leader: leaderMessage(election.Leader),
	}
	if age, ok := s.view.Age(); ok {
		response.Replica.ViewAge = durationpb.New(age)
	}
	for _, c := range election.Candidates {
		response.Replicas = append(response.Replicas, &tokenbrokerv1.Replica{
			Id: c.ID, Address: c.Address, Since: timestamp(c.Since),
			Leading: election.Leader != nil && election.Leader.Key == c.Key,
		})
	}
	for _, t := range tokens {
		response.Tokens = append(response.Tokens, s.tokenStatus(t, election.Leader))
	}
	return response, nil
}

// election is what may be said of the election now: nothing of a leader while this replica is cut off (see the package documentation).
// Candidates are those that it knew last.
func (s *Server) election() Election {
	e := s.cluster.Election()
	if !s.view.InSync() {
		e.Leader = nil
	}
	return e
}

// leads reports whether this replica is the leader: etcd names its term, and it is still sure of that itself.
func (s *Server) leads(e Election) bool {
	return e.Leader != nil && e.Leader.Term == s.cluster.Leading()
}

// leaderMessage returns nil where there is no leader, so that the field stays unset.
func leaderMessage(c *Candidate) *tokenbrokerv1.Leader {
	if c == nil {
		return nil
	}
	return &tokenbrokerv1.Leader{Id: c.ID, Address: c.Address, Term: c.Term, Key: c.Key, Since: timestamp(c.Since)}
}

func (s *Server) tokenStatus(t *view.Token, leader *Candidate) *tokenbrokerv1.TokenStatus {
	plan := s.planner.Plan(t.Name(), leader)
	traits := t.Traits()
	r, wall := t.Read(), s.cfg.Wall()
	return &tokenbrokerv1.TokenStatus{
		Name:                t.Name(),
		State:               stateMessage(r.State),
		Version:             r.Record.Version,
		Ttl:                 durationpb.New(r.TTL),
		ExpireTime:          timestamp(r.Expires),
		Upstream:            traits.Kind,
		Rotating:            traits.Rotating,
		LastRefreshTime:     timestamp(r.Record.IssuedAt),
		NextRefreshTime:     timestamp(plan.begins()),
		NextRefreshReason:   plan.Reason,
		LastFailure:         failureMessage(r.Record.LastFailure),
		ConsecutiveFailures: int32(min(r.Record.Failures, 1<<31-1)),
		FetchesToday:        r.Record.Spent.On(wall, traits.Calendar).Fetches,
		DailyBudget:         plan.DailyBudget,
		BudgetResetTime:     timestamppb.New(token.DayEnds(wall, traits.Calendar)),
		Pending:             r.Record.Pending != nil,
		Doubt:               r.Record.Doubt,
		Condemned:           r.Record.Condemned,
		Local:               r.Local,
		EarlyDeaths:         deathsMessage(r.Record.EarlyDeaths, traits),
		QuietUntil:          timestamp(plan.Quiet),
	}
}

// deathsMessage returns nil where no token died before its time.
func deathsMessage(d token.EarlyDeaths, traits token.Traits) *tokenbrokerv1.EarlyDeaths {
	if d.Count == 0 {
		return nil
	}
	meaning, remedy := traits.EarlyDeath()
	return &tokenbrokerv1.EarlyDeaths{Count: d.Count, LastTime: timestamp(d.Last), Meaning: meaning, Remedy: remedy}
}

// failureMessage returns nil where nothing failed so far. The failure was scrubbed where it arose.
func failureMessage(f token.Failure) *tokenbrokerv1.UpstreamFailure {
	if f.Class == "" {
		return nil
	}
	return &tokenbrokerv1.UpstreamFailure{
		Code: f.Code, Class: string(f.Class), Meaning: f.Meaning, Remedy: f.Remedy, Message: f.Message, Time: timestamp(f.At),
		Replica: f.Replica,
	}
}

// RefreshToken implements the method of that name. Blocks until the leader has fetched, for minutes if a rotating upstream must be left
// in peace first; the order goes on if the caller does not wait for that.
func (s *Server) RefreshToken(ctx context.Context, req *tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
	t, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if req.GetForce() && !t.Traits().Force {
		return nil, badRequest("force", fmt.Sprintf("%s cannot be told to kill a token; refreshed without force, twice, it ends", t.Traits().Kind))
	}
	if s.view.Revision() == 0 {
		return nil, s.storeAway() // there is no telling what the order is to replace
	}
	waiting, cancel := patience(ctx)
	defer cancel()
	request := token.Request{Kind: token.RequestRefresh, Name: t.Name(), Version: t.Version(), Force: req.GetForce()} // the leader knows no local version
	settled := newerThan(t, t.Read().Record.Version)
	if version := req.GetVersion(); version != 0 {
		if err := s.known(waiting, t, version); err != nil {
			return nil, err
		}
		request.Version, settled = version, newerThan(t, version)
	}
	if req.GetForce() {
		settled = killed(t, request.Version)
	}
	if !settled() { // an order that is repeated may have been carried out
		if !s.view.InSync() {
			return nil, s.storeAway()
		}
		if err := s.pursue(waiting, request, t.Changed, settled); err != nil {
			return nil, s.ordered(err, fmt.Sprintf("the order to refresh token %q", t.Name()), t)
		}
	}
	if t.Removed() {
		return nil, s.removed(t.Name())
	}
	return &tokenbrokerv1.RefreshTokenResponse{Token: new(tokenMessage).fill(t, t.Read())}, nil
}

// killed looks for the result of a forced refresh after the given version: any newer version would not do, since what an ordinary
// refresh replaces lives on for a while.
func killed(t *view.Token, version int64) func() bool {
	return func() bool { return t.Read().Record.ForcedVersion > version || t.Removed() }
}

// ResignLeadership implements the method of that name. It names the term that it saw, so that an order that comes late does not end
// the next one. Blocks until another term is seen.
func (s *Server) ResignLeadership(ctx context.Context, _ *tokenbrokerv1.ResignLeadershipRequest) (*tokenbrokerv1.ResignLeadershipResponse, error) {
	old := s.election().Leader
	switch {
	case old != nil:
	case !s.view.InSync():
		return nil, s.storeAway()
	default:
		return nil, noLeader()
	}
	var next *Candidate
	waiting, cancel := patience(ctx)
	defer cancel()
	err := s.pursue(waiting, token.Request{Kind: token.RequestResign, Version: old.Term}, s.cluster.Changed, func() bool {
		next = s.cluster.Election().Leader
		return next != nil && next.Term > old.Term
	})
	if err != nil {
		return nil, s.ordered(err, fmt.Sprintf("the order to end term %d", old.Term), nil)
	}
	return &tokenbrokerv1.ResignLeadershipResponse{Leader: leaderMessage(next)}, nil
}

// ordered says why an operator's order was not carried out. t is nil where it is about no token.
func (s *Server) ordered(err error, order string, t *view.Token) error {
	if errors.Is(err, errPatience) && s.view.InSync() && s.cluster.Election().Leader == nil {
		return noLeader()
	}
	return s.explain(err, order, t)
}
