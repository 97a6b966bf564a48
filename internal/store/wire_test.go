package store_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wire listens to what a client says to etcd.
type wire struct {
	mu    sync.Mutex
	calls map[string]int // by method; a read of many keys is a RangeAll
	txns  []*etcdserverpb.TxnRequest
	lose  map[string]int     // how many answers to the next calls of a method get lost
	hush  bool               // nobody tells that they got lost
	late  chan chan struct{} // takes a channel for every answer to a read; the answer waits until that is closed. Nil: no answer waits
	shut  chan struct{}      // closed when watches may be opened; nil if they may
	held  chan struct{}      // closed when watches may hear again; nil if they hear
}

func newWire() *wire { return &wire{calls: map[string]int{}, lose: map[string]int{}} }

// options make a client speak over the wire.
func (w *wire) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(w.unary), grpc.WithChainStreamInterceptor(w.stream)}
}

func (w *wire) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	name := method[strings.LastIndexByte(method, '/')+1:]
	if read, ok := req.(*etcdserverpb.RangeRequest); ok && len(read.RangeEnd) > 0 {
		name = "RangeAll"
	}
	w.mu.Lock()
	w.calls[name]++
	if txn, ok := req.(*etcdserverpb.TxnRequest); ok {
		w.txns = append(w.txns, txn)
	}
	lost, hush, late := w.lose[name] > 0, w.hush, w.late
	if lost {
		w.lose[name]--
	}
	w.mu.Unlock()
	err := call(ctx, method, req, reply, cc, opts...)
	if err == nil && late != nil && strings.HasPrefix(name, "Range") {
		err = hold(ctx, late)
	}
	if err != nil || !lost {
		return err
	}
	if hush {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable, "the answer was lost")
}

// hold keeps an answer until whoever takes it from late lets it go.
func hold(ctx context.Context, late chan<- chan struct{}) error {
	arrive := make(chan struct{})
	select {
	case late <- arrive:
		select {
		case <-arrive:
			return nil
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return status.FromContextError(ctx.Err()).Err()
}

// slowReads delays the answer to every read: take it from the channel, and close it when it may arrive.
func (w *wire) slowReads() <-chan chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = make(chan chan struct{})
	return w.late
}

// loseAnswers lets the answers to the next n calls of a method get lost on their way. If hush, the client is left waiting for them.
func (w *wire) loseAnswers(n int, method string, hush bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose[method], w.hush = n, hush
}

// count is the number of calls of a method so far.
func (w *wire) count(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[method]
}

// total is the number of calls so far.
func (w *wire) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0
	for _, n := range w.calls {
		total += n
	}
	return total
}

// lastTxn returns the last transaction that was sent.
func (w *wire) lastTxn(t *testing.T) *etcdserverpb.TxnRequest {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.txns) == 0 {
		t.Fatal("no transaction was sent")
	}
	return w.txns[len(w.txns)-1]
}

// deliver lets etcd receive a transaction that was under way all the time, or a duplicate of one, and returns whether it was done.
func deliver(t *testing.T, client *clientv3.Client, txn *etcdserverpb.TxnRequest) bool {
	t.Helper()
	resp, err := etcdserverpb.NewKVClient(client.ActiveConnection()).Txn(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Succeeded
}

// deafen keeps from all watches what etcd tells them; unary calls go on. hear ends it, and delivers what was kept back.
func (w *wire) deafen() (hear func()) {
	held := make(chan struct{})
	w.mu.Lock()
	w.held = held
	w.mu.Unlock()
	return sync.OnceFunc(func() { close(held) })
}

// shutWatches keeps all watches from being opened, until open is called.
func (w *wire) shutWatches() (open func()) {
	shut := make(chan struct{})
	w.mu.Lock()
	w.shut = shut
	w.mu.Unlock()
	return sync.OnceFunc(func() { close(shut) })
}

func (w *wire) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	isWatch := strings.HasSuffix(method, "/Watch")
	w.mu.Lock()
	shut := w.shut
	w.mu.Unlock()
	if isWatch && shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil || !isWatch {
		return s, err
	}
	return &hearing{ClientStream: s, wire: w}, nil
}

// hearing is a watch's stream on a wire.
type hearing struct {
	grpc.ClientStream

	wire *wire
}

func (h *hearing) RecvMsg(m any) error {
	err := h.ClientStream.RecvMsg(m)
	h.wire.mu.Lock()
	held := h.wire.held
	h.wire.mu.Unlock()
	if held != nil && err == nil {
		select {
		case <-held:
		case <-h.Context().Done():
			return h.Context().Err()
		}
	}
	return err
}

// allowReads ends what slowReads began, for reads that are sent from now on.
func (w *wire) allowReads() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = nil
}
