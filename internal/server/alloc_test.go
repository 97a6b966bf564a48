package server_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// registered keeps what Register hands to gRPC.
type registered map[string]grpc.MethodHandler

func (r registered) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, m := range desc.Methods {
		r[m.MethodName] = m.Handler
	}
}

func TestGetTokenOfAnActiveTokenAllocatesOnce(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	ctx, req := t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := w.server.GetToken(ctx, req); err != nil {
			t.Error(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestCountingAndGuardingACallAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	handlers := registered{}
	w.server.Register(handlers)
	handle := handlers["GetToken"]
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := handle(w.server, ctx, decodeStable, nil); err != nil {
			t.Error(err)
		}
	}); n > 2 { // the request, which generated code allocates, and the answer
		t.Errorf("%v allocations", n)
	}
}

func decodeStable(m any) error {
	req, ok := m.(*tokenbrokerv1.GetTokenRequest)
	if !ok {
		panic("not the request of GetToken")
	}
	req.Name = stable
	return nil
}

// BenchmarkGetToken is the handler alone, as gRPC calls it: counted, timed and guarded. test/bench compares whole calls.
func BenchmarkGetToken(b *testing.B) {
	w := newWorld(b)
	w.commit(stable, time.Hour)
	handlers := registered{}
	w.server.Register(handlers)
	handle := handlers["GetToken"]
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := handle(w.server, ctx, decodeStable, nil); err != nil {
			b.Fatal(err)
		}
	}
}
