package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// session is a lease and the belief that etcd still holds it. The belief is a context, returned by open: it ends when the trust does,
// with ErrTrustLost as cause, and never comes back.
type session struct {
	client *clientv3.Client
	cfg    Config
	lease  clientv3.LeaseID
	until  atomic.Int64 // the clock.Instant at which the trust ends, unless it is renewed
	era    uint64       // of the clocks, when the lease was granted

	lose context.CancelCauseFunc // ends the trust
	stop context.CancelFunc      // ends the keep-alives and whatever else belongs to the session
	work sync.WaitGroup          // its goroutines
}

// open grants a lease and keeps it alive until the trust is lost or close is called. The session does not end with ctx: a leader that
// winds down needs it to the last. A grant without an answer may leave a lease behind; nobody knows its id, so it expires by itself.
func open(ctx context.Context, client *clientv3.Client, cfg Config) (context.Context, *session, error) {
	sent := cfg.Clock.Read()
	cctx, cancel := context.WithTimeout(ctx, cfg.call())
	defer cancel()
	granted, err := client.Grant(cctx, int64(cfg.TTL/time.Second))
	if err != nil {
		return nil, nil, fmt.Errorf("granting a lease: %w", err)
	}
	s := &session{client: client, cfg: cfg, lease: granted.ID, era: sent.Era}
	s.renew(sent.At, granted.TTL)
	alive, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	s.lose = lose
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.work.Go(func() { s.keep(working, sent.At) })
	return alive, s, nil
}

// renew notes until when an answer of this TTL, in seconds, to a request lets trust. It counts from the sending: etcd may have renewed
// the lease at any time since, and the answer says nothing about when. Only one goroutine calls it.
func (s *session) renew(sent clock.Instant, ttl int64) {
	until := sent.Add(time.Duration(ttl)*time.Second - s.cfg.Margin)
	s.until.Store(max(s.until.Load(), int64(until)))
}

// doubt returns why the lease cannot be trusted at that moment; nil if it can, as far as the clocks tell.
func (s *session) doubt(now clock.Reading) error {
	switch {
	case now.Era != s.era:
		return fmt.Errorf("%w: the clocks jumped", ErrTrustLost)
	case now.At >= clock.Instant(s.until.Load()):
		return fmt.Errorf("%w: no keep-alive was answered in time", ErrTrustLost)
	}
	return nil
}

// answer is the outcome of one keep-alive.
type answer struct {
	sent clock.Instant
	ttl  int64 // as etcd has it now, in seconds; 0 if the lease is gone
	err  error
}

// keep sends keep-alives, and ends the session's context when the trust is over that began with the sending of the grant. It never
// waits for an answer before it sends the next request: what one hung connection swallows, the next request gets through another.
func (s *session) keep(ctx context.Context, granted clock.Instant) {
	defer s.stop()
	next := granted.Add(s.cfg.beat())
	answers := make(chan answer)
	var failure error // of the keep-alives since the last that succeeded
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := s.cfg.Clock.Read()
		if err := s.doubt(now); err != nil {
			s.lose(errors.Join(err, failure))
			return
		}
		if now.At >= next {
			s.work.Go(func() { s.send(ctx, now.At, answers) })
			next = now.At.Add(s.cfg.beat())
		}
		timer.Reset(min(clock.Instant(s.until.Load()).Sub(now.At), next.Sub(now.At), s.cfg.retry()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case a := <-answers:
			switch {
			case a.err != nil:
				failure = a.err
				next = min(next, s.cfg.Clock.Now().Add(s.cfg.retry()))
			case a.ttl <= 0:
				s.lose(fmt.Errorf("%w: etcd has ended the lease", ErrTrustLost))
				return
			default:
				s.renew(a.sent, a.ttl)
				failure = nil
			}
		}
	}
}

// send sends one keep-alive and delivers its outcome. An answer that comes later than a TTL is worth nothing, so it is not awaited.
func (s *session) send(ctx context.Context, sent clock.Instant, answers chan<- answer) {
	cctx, cancel := context.WithTimeout(ctx, s.cfg.TTL)
	defer cancel()
	a := answer{sent: sent}
	a.ttl, a.err = s.keepAliveOnce(cctx)
	select {
	case answers <- a:
	case <-ctx.Done():
	}
}

// keepAliveOnce asks once. clientv3's function of this name asks again for as long as its context lives, without a pause, when etcd
// answers that it is unavailable.
func (s *session) keepAliveOnce(ctx context.Context) (ttl int64, err error) {
	stream, err := clientv3.RetryLeaseClient(s.client).LeaseKeepAlive(ctx, grpc.WaitForReady(true))
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(s.lease)}); err != nil {
		return 0, err
	}
	r, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	return r.TTL, nil
}

// close ends the session: nobody works on it any more, and etcd drops the lease with the key, or will when the TTL is over. It blocks
// for one call's deadline at most, whether ctx is still alive or not.
func (s *session) close(ctx context.Context) error {
	s.stop()
	s.work.Wait()
	s.lose(ErrTrustLost)
	// gofail: var leaderBeforeRevoke struct{}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.call())
	defer cancel()
	if _, err := s.client.Revoke(cctx, s.lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoking the lease: %w", err)
	}
	return nil
}
