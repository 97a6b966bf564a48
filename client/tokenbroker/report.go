package tokenbroker

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// reportTime is how long one ReportInvalidToken may take. The broker answers when the leader has settled the matter.
	reportTime = 30 * time.Second
	// Waits before a report that failed is repeated, if the broker did not say when.
	firstReport   = 500 * time.Millisecond
	longestReport = 30 * time.Second
)

// report is what the broker is being told of one version. It is open until there is a newer one, the upstream says that the version lives,
// or the broker does not know it. The follower's mu guards it.
type report struct {
	version  int64
	attempts int    // that failed
	failure  *Error // of the last one
}

// failedSince returns the error that a caller should see who came when so many attempts had failed. Where the broker is not allowed to fetch
// it takes long until the next attempt, and no caller waits for that.
func (r *report) failedSince(attempts int) error {
	if r.failure != nil && (r.attempts > attempts || r.failure.Code == codes.ResourceExhausted) {
		return r.failure
	}
	return nil
}

func reportOf(name string, version int64) *tokenbrokerv1.ReportInvalidTokenRequest {
	return &tokenbrokerv1.ReportInvalidTokenRequest{Name: name, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: version}}
}

// invalid reports a token and waits for the one to use from now on, or for the first attempt that fails.
func (f *follower) invalid(ctx context.Context, refused Token) (Token, error) {
	ctx, cancel := f.client.patience(ctx)
	defer cancel()
	r, attempts := f.refer(refused)
	for {
		f.mu.Lock()
		t, changed := f.offer(), f.changed // what was refused is not on offer, unless it was vouched for
		if f.report != nil && f.report != r {
			r, attempts = f.report, 0 // the newer version was reported meanwhile
		}
		err := f.refusal()
		if r != nil {
			err = r.failedSince(attempts)
		}
		f.mu.Unlock()
		if !t.IsZero() {
			return t, nil
		}
		if err != nil {
			return Token{}, err
		}
		if err := f.pause(ctx, changed); err != nil {
			return Token{}, err
		}
	}
}

// refer takes a token out of circulation and sees to it that the broker is told. It returns the open report, and how many attempts of it have
// failed; nil if there is none, because the token was replaced before, or the broker itself has said that it is dead.
func (f *follower) refer(refused Token) (*report, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.client.clock.now()
	if version := refused.Version(); !f.over && !f.floor.bars(version, now) {
		f.refuse(version, now.add(refused.held.nominal.sub(refused.held.clock.now())))
		r := &report{version: version}
		f.report = r
		f.client.start(func() { f.settle(f.client.life, r) }) // or the client is closed, and nobody waits for it
	}
	if f.report == nil {
		return nil, 0
	}
	return f.report, f.report.attempts
}

// settle tells the broker until the report is closed, or ctx ends. Nobody but the client can repeat a report: callers have no token any more
// that WeChat could refuse. Reports that are repeated do no harm, since they name a version.
func (f *follower) settle(ctx context.Context, r *report) {
	retry := newBackOff(firstReport, longestReport)
	for {
		failure := f.tell(ctx, r)
		wait := retry.NextBackOff()
		if failure != nil {
			wait = max(wait, failure.RetryAfter)
		}
		if !f.open(ctx, r, wait) {
			return
		}
	}
}

// tell tells the broker once. It returns why that failed; nil if it did not, or the replica lags behind.
func (f *follower) tell(ctx context.Context, r *report) *Error {
	calling, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	sent := f.client.clock.look()
	response, err := f.client.api.ReportInvalidToken(calling, reportOf(f.name, r.version))
	if err == nil {
		f.take(sent, response.GetToken(), r)
		f.ask() // the promise may be half used up already
		return nil
	}
	e := newError(f.name, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil || f.report != r {
		return nil // settled by another answer meanwhile
	}
	r.attempts++
	r.failure, f.verdict = e, e
	if e.Code == codes.InvalidArgument {
		f.report, f.verdict = nil, nil
		f.forgetVersions() // they have another store now, in which there never was such a version
		f.ask()
	}
	f.announce()
	f.logger.WarnContext(ctx, "report of an invalid token not settled", "version", r.version, "err", e)
	return e
}

// open waits for the time to try again, and reports whether the report is still open then.
func (f *follower) open(ctx context.Context, r *report, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		f.mu.Lock()
		open, changed := f.report == r, f.changed
		f.mu.Unlock()
		if !open {
			return false
		}
		select {
		case <-changed:
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
