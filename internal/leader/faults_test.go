package leader_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// The methods that the tests break.
const (
	put       = "/etcdserverpb.KV/Put"
	txn       = "/etcdserverpb.KV/Txn"
	grant     = "/etcdserverpb.Lease/LeaseGrant"
	keepAlive = "/etcdserverpb.Lease/LeaseKeepAlive"
	watch     = "/etcdserverpb.Watch/Watch"
)

// loseAnswer lets the nth call of a method through and then loses its answer: the caller cannot know what came of it.
func loseAnswer(method string, nth int) grpc.DialOption {
	var mu sync.Mutex
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, called string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, called, req, reply, cc, opts...)
		if err != nil || called != method {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if nth--; nth == 0 {
			return status.Error(codes.DeadlineExceeded, "the answer is lost")
		}
		return nil
	})
}

// before runs a function before the first call of a method goes out.
func before(method string, run func()) grpc.DialOption {
	var once sync.Once
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, called string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if called == method {
			once.Do(run)
		}
		return invoke(ctx, called, req, reply, cc, opts...)
	})
}

// afterReads runs a function on the answer to each read, which may do something meanwhile, or change the answer.
func afterReads(run func(*pb.RangeResponse)) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if r, ok := reply.(*pb.RangeResponse); ok && err == nil {
			run(r)
		}
		return err
	})
}

// grantOf has etcd grant another TTL than it is asked for.
func grantOf(seconds int64) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if r, ok := req.(*pb.LeaseGrantRequest); ok {
			r.TTL = seconds
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// failGrants fails every grant at once, and counts them.
func failGrants(count *atomic.Int64) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method == grant {
			count.Add(1)
			return status.Error(codes.PermissionDenied, "no")
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// failKeepAlives fails all keep-alives at once but every nth.
func failKeepAlives(n int) grpc.DialOption {
	var mu sync.Mutex
	count := 0
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if method == keepAlive {
			mu.Lock()
			defer mu.Unlock()
			if count++; count%n != 0 {
				return nil, status.Error(codes.Unavailable, "try again")
			}
		}
		return open(ctx, desc, cc, method, opts...)
	})
}

// hangKeepAlives leaves all keep-alives without an answer but every nth.
func hangKeepAlives(n int) grpc.DialOption {
	var mu sync.Mutex
	count := 0
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if method == keepAlive {
			mu.Lock()
			count++
			hang := count%n != 0
			mu.Unlock()
			if hang {
				<-ctx.Done()
			}
		}
		return open(ctx, desc, cc, method, opts...)
	})
}

// onWatch closes the channel when etcd confirms the client's first watch: the candidate is waiting then, or the leader on guard.
func onWatch(confirmed chan struct{}) grpc.DialOption {
	var once sync.Once
	return watches(func(r *pb.WatchResponse) {
		if r.Created {
			once.Do(func() { close(confirmed) })
		}
	})
}

// muteWatches drops every event: watches look alive and say nothing.
func muteWatches() grpc.DialOption {
	return watches(func(r *pb.WatchResponse) { r.Events = nil })
}

// watches shows every answer of every watch to see, which may change it.
func watches(see func(*pb.WatchResponse)) grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := open(ctx, desc, cc, method, opts...)
		return seen{s, see}, err
	})
}

type seen struct {
	grpc.ClientStream
	see func(*pb.WatchResponse)
}

func (s seen) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if r, ok := msg.(*pb.WatchResponse); ok && err == nil {
		s.see(r)
	}
	return err
}

// stallWatches opens no watch, ever.
func stallWatches() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if method == watch {
			<-ctx.Done()
		}
		return open(ctx, desc, cc, method, opts...)
	})
}

// requireLeaders reports the metadata by which each watch asks to be ended when its member has no leader.
func requireLeaders(asked chan<- []string) grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if md, _ := metadata.FromOutgoingContext(ctx); method == watch {
			asked <- md.Get(rpctypes.MetadataRequireLeaderKey)
		}
		return open(ctx, desc, cc, method, opts...)
	})
}

// bent is a clock that tests move. It runs like the system's otherwise.
type bent struct {
	mu         sync.Mutex
	mono, wall time.Duration // how far ahead of the system's clocks
}

func (b *bent) clock() *clock.Clock {
	base := time.Now()
	return clock.FromSource(func() (time.Duration, time.Time) {
		b.mu.Lock()
		defer b.mu.Unlock()
		now := time.Now()
		return now.Sub(base) + b.mono, now.Round(0).Add(b.wall)
	})
}

// jump moves the clocks ahead.
func (b *bent) jump(mono, wall time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mono += mono
	b.wall += wall
}
