package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/server"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// drillTime is how long a leak drill may take by default: half a minute between its two refreshes, and several changes of leader.
	drillTime = 10 * time.Minute
	// tryTime bounds one call, after which another replica is asked the same.
	tryTime = 20 * time.Second
)

// drill kills a leaked token: two forced refreshes, as far apart as the upstream wants. Every order names the version that it is to kill,
// so that it can be given again to any replica when nobody answered, without being carried out twice.
type drill struct {
	*client
	name  string
	began time.Time

	done []string // what has been done, in words
	open bool     // an order was given, and whether it was carried out is not known
}

// run blocks until both refreshes are done, or it is known that they will not be, for c.timeout at most. It tells its progress on
// standard error, and on failure what has been done and how to go on.
func (d *drill) run(ctx context.Context) (*tokenbrokerv1.RefreshTokenResponse, error) {
	d.began = time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	version, err := d.present(ctx)
	if err != nil {
		return nil, d.broken(err)
	}
	d.tell("%s has version %d; the first forced refresh is ordered", d.name, version)
	for {
		resp, err := d.kill(ctx, version)
		if err != nil {
			return nil, d.broken(err)
		}
		next := resp.GetToken().GetVersion()
		d.done = append(d.done, fmt.Sprintf("version %d is dead, %d took its place", version, next))
		d.tell("%d of 2 done: %s", len(d.done), d.done[len(d.done)-1])
		if len(d.done) == 2 {
			return resp, nil
		}
		version = next
	}
}

// present returns the version that is to be killed first, as a replica knows it that is not cut off.
func (d *drill) present(ctx context.Context) (int64, error) {
	var version int64
	err := d.persist(ctx, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
		resp, err := tokenbrokerv1.NewAdminServiceClient(conn).GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{}, opts...)
		if err != nil {
			return err
		}
		if !resp.GetReplica().GetInSync() {
			return status.Error(codes.Unavailable, "this replica is cut off from etcd")
		}
		for _, t := range resp.GetTokens() {
			if t.GetName() == d.name {
				version = t.GetVersion()
				return nil
			}
		}
		return status.Errorf(codes.NotFound, "this replica has no token %q in its configuration", d.name)
	})
	return version, err
}

// kill has the leader replace a version by force.
func (d *drill) kill(ctx context.Context, version int64) (*tokenbrokerv1.RefreshTokenResponse, error) {
	var resp *tokenbrokerv1.RefreshTokenResponse
	err := d.persist(ctx, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
		resp, err = tokenbrokerv1.NewAdminServiceClient(conn).RefreshToken(ctx,
			&tokenbrokerv1.RefreshTokenRequest{Name: d.name, Force: true, Version: version}, opts...)
		d.open = err != nil && !decided(err)
		return err
	})
	return resp, err
}

// persist repeats a call while there is hope: through a change of leaders, and after the pause that the upstream wants.
func (d *drill) persist(ctx context.Context, do func(context.Context, *grpc.ClientConn, ...grpc.CallOption) error) error {
	one := *d.client
	for {
		one.timeout = tryTime
		err := one.call(ctx, operatorConfig, do)
		failure := (*callError)(nil)
		deadline, _ := ctx.Deadline()
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case !errors.As(err, &failure) || !failure.passing() || time.Until(deadline) < failure.pause():
			return err
		}
		d.tell("%s; again in %s", failure.brief(), span(failure.pause()))
		timer := time.NewTimer(failure.pause())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// decided reports whether an order that failed will not be carried out later.
func decided(err error) bool {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == server.ReasonRefreshFailed {
			return true
		}
	}
	return st.Code() == codes.ResourceExhausted || st.Code() == codes.InvalidArgument || st.Code() == codes.NotFound
}

// tell writes a line of progress.
func (d *drill) tell(format string, args ...any) {
	fmt.Fprintf(d.err, "[%3.0fs] "+format+"\n", append([]any{time.Since(d.began).Seconds()}, args...)...)
}

// broken explains why the drill ended early, what has been done, and how to go on.
func (d *drill) broken(err error) error {
	o := failed("refresh", err)
	line := func(name, format string, args ...any) {
		o.text += fmt.Sprintf("\n  %-8s "+format, append([]any{name}, args...)...)
	}
	line("done", "%d of 2 forced refreshes", len(d.done))
	for _, step := range d.done {
		line("", "%s", step)
	}
	if d.open {
		line("open", "another was ordered, and may still be carried out")
	}
	code, failure := codes.Unknown, (*callError)(nil)
	if errors.As(err, &failure) {
		code = failure.status.Code()
	}
	switch {
	case len(d.done) > 0:
		line("go on", "broker refresh --force %s", d.name)
	case code == codes.InvalidArgument: // the upstream knows no force
		line("go on", "broker refresh --timeout 5m %s", d.name)
		line("", "twice: the first replaces the token, the second ends the one that leaked")
	case code != codes.NotFound:
		line("go on", "broker refresh --force --twice %s", d.name)
	}
	return o
}
