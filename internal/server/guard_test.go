package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// gate is a guard that decides as the test says, and remembers what it was asked.
type gate struct {
	mu     sync.Mutex
	admit  error
	allow  func(m server.Method, token string) error
	hand   error
	slow   time.Duration // how long Hand takes
	visits []*visit
}

type visit struct {
	*gate
	server.Method
	asked  []string
	handed []string
	ended  []error
}

func (g *gate) Admit(_ context.Context, m server.Method) (server.Visit, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.admit != nil {
		return nil, g.admit
	}
	v := &visit{gate: g, Method: m}
	g.visits = append(g.visits, v)
	return v, nil
}

func (v *visit) Allow(token string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, token)
	if v.allow == nil {
		return nil
	}
	return v.allow(v.Method, token)
}

func (v *visit) Hand(token string, version int64) error {
	time.Sleep(v.slow)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gate.hand == nil {
		v.handed = append(v.handed, fmt.Sprintf("%s %d", token, version))
	}
	return v.gate.hand
}

func (v *visit) End(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = append(v.ended, err)
}

// last returns the visit of the last call, which must have ended once.
func (g *gate) last(t *testing.T) *visit {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visits[len(g.visits)-1]
	if len(v.ended) != 1 {
		t.Fatalf("the visit of %s ended %d times", v.Name, len(v.ended))
	}
	return v
}

// denies replaces what is allowed.
func (g *gate) denies(allow func(server.Method, string) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.allow = allow
}

func outside(_ server.Method, name string) error {
	return server.Denied(fmt.Sprintf("may not: %q", name))
}

// guarded returns a world behind a gate, with one version of each token.
func guarded(tb testing.TB) (*world, *gate) {
	tb.Helper()
	g := &gate{}
	w := newBlankWorld(tb, clock.New(), server.Config{Guard: g})
	w.load()
	w.commit(stable, time.Hour)
	w.commit(classic, time.Hour)
	w.votes.elect(server.Candidate{ID: "a", Key: "k", Term: 7})
	return w, g
}

// methods are all methods of both services.
func methods(t *testing.T) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	all := map[string]protoreflect.MethodDescriptor{}
	for _, service := range []grpc.ServiceDesc{tokenbrokerv1.TokenBrokerService_ServiceDesc, tokenbrokerv1.AdminService_ServiceDesc} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service.ServiceName))
		if err != nil {
			t.Fatal(err)
		}
		described := d.(protoreflect.ServiceDescriptor).Methods()
		if described.Len() != len(service.Methods)+len(service.Streams) {
			t.Fatalf("%s has %d methods", service.ServiceName, described.Len())
		}
		for i := range described.Len() {
			m := described.Get(i)
			all["/"+service.ServiceName+"/"+string(m.Name())] = m
		}
	}
	return all
}

// call calls a method about the token of that name, if it is about one, and returns its last error.
func (s *service) call(method string, m protoreflect.MethodDescriptor, name string) error {
	s.tb.Helper()
	message := func(d protoreflect.MessageDescriptor) proto.Message {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			s.tb.Fatal(err)
		}
		return kind.New().Interface()
	}
	request := message(m.Input())
	if field := m.Input().Fields().ByName("name"); field != nil {
		request.ProtoReflect().Set(field, protoreflect.ValueOfString(name))
	}
	ctx, cancel := context.WithCancel(s.tb.Context())
	defer cancel()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer()}, method)
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		s.tb.Fatal(err)
	}
	return stream.RecvMsg(message(m.Output()))
}

func TestOutsiderGetsTheSameRefusalFromEveryMethodWhetherThereIsSuchATokenOrNot(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	g.denies(outside)
	verbs := map[access.Verb]bool{}
	for name, m := range methods(t) {
		var texts []string
		for _, token := range []string{stable, "shop.nothere", strings.Repeat("x", 64), ""} {
			err := s.call(name, m, token)
			refused(t, err, codes.PermissionDenied, server.ReasonDenied)
			texts = append(texts, strings.ReplaceAll(status.Convert(err).Message(), fmt.Sprintf("%q", token), "..."))
			v := g.last(t)
			if v.Name != name || v.Stream != m.IsStreamingServer() || status.Code(v.ended[0]) != codes.PermissionDenied || len(v.handed) > 0 {
				t.Errorf("%s: the guard was told of %+v, ended with %v", name, v.Method, v.ended)
			}
			verbs[v.Verb] = true
		}
		if strings.Contains(strings.Join(texts, ""), stable) || len(slices.Compact(texts)) > 1 && m.Input().Fields().ByName("name") != nil {
			t.Errorf("%s: the refusals differ: %q", name, texts)
		}
	}
	if len(verbs) != len(methods(t)) || verbs[""] {
		t.Errorf("the verbs were %v", verbs)
	}
	if asked := w.leader.questions(); len(asked) > 0 {
		t.Errorf("the leader was asked %v", asked)
	}
}

func TestWhoIsNotAdmittedIsNotHeard(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	g.admit = server.Unauthenticated(fmt.Errorf("%w: no such thing", access.ErrUnauthenticated))
	for name, m := range methods(t) {
		err := s.call(name, m, stable)
		refused(t, err, codes.Unauthenticated, server.ReasonUnauthenticated)
		if !strings.Contains(err.Error(), "not authenticated: no such thing") {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.admit = server.Limited("too often", 3*time.Second)
	for name, m := range methods(t) {
		if _, retry := refused(t, s.call(name, m, stable), codes.ResourceExhausted, server.ReasonCallerLimit); retry != 3*time.Second {
			t.Errorf("%s: to be tried again after %v", name, retry)
		}
	}
	if len(g.visits) > 0 {
		t.Errorf("there were %d visits", len(g.visits))
	}
}

func TestHealthAndReflectionAreNotGuarded(t *testing.T) {
	w, g := guarded(t)
	g.admit = server.Unrecorded()
	serve(w).check("", serving)
}

func TestWhatTheGuardHoldsBackLeavesInNoAnswer(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged})
	g.hand = server.Unrecorded()
	for name, m := range methods(t) {
		if strings.Contains(name, "Report") || strings.Contains(name, "Admin") && !strings.Contains(name, "Status") {
			continue // need more of a request: below
		}
		refused(t, s.call(name, m, stable), codes.Unavailable, server.ReasonAuditFull)
	}
	_, err := s.ReportInvalidToken(t.Context(), byVersion(stable, 1))
	refused(t, err, codes.Unavailable, server.ReasonAuditFull)
	admin := tokenbrokerv1.NewAdminServiceClient(s.conn)
	_, err = admin.RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable})
	refused(t, err, codes.Unavailable, server.ReasonAuditFull)
	g.last(t)
}

func TestGuardLearnsWhichVersionLeaves(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged})
	w.commit(stable, time.Hour)
	for call, do := range map[string]func() error{
		"GetToken":           func() error { _, err := s.GetToken(t.Context(), getRequest(stable, 0)); return err },
		"ReportInvalidToken": func() error { _, err := s.ReportInvalidToken(t.Context(), byVersion(stable, 2)); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		v := g.last(t)
		if !strings.HasSuffix(v.Name, call) || !slices.Equal(v.asked, []string{stable}) || !slices.Equal(v.handed, []string{stable + " 2"}) || v.ended[0] != nil {
			t.Errorf("%s: asked %v, handed %v, ended with %v", v.Name, v.asked, v.handed, v.ended)
		}
	}
}

func TestListsShowThoseTokensThatTheCallerMaySeeAndNobodyElseASingleOne(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	admin := tokenbrokerv1.NewAdminServiceClient(s.conn)
	g.denies(func(_ server.Method, name string) error {
		if name != classic {
			return server.Denied("no")
		}
		return nil
	})
	list, err := s.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
	if err != nil || len(list.GetTokens()) != 1 || list.GetTokens()[0].GetName() != classic {
		t.Errorf("the list shows %v, %v", list, err)
	}
	state, err := admin.GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{})
	if err != nil || len(state.GetTokens()) != 1 || state.GetTokens()[0].GetName() != classic || state.GetReplica().GetId() != "a" || len(state.GetReplicas()) != 1 {
		t.Errorf("the status shows %v, %v", state, err)
	}
	if err := w.view.Configure(nil); err != nil {
		t.Fatal(err)
	}
	_, err = s.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
	refused(t, err, codes.PermissionDenied, server.ReasonDenied)
	g.denies(nil)
	if list, err := s.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{}); err != nil || len(list.GetTokens()) > 0 {
		t.Errorf("who may see all sees %v of nothing, %v", list, err)
	}
}

func TestCallThatPanicsEndsItsVisit(t *testing.T) {
	w, g := guarded(t)
	s := serve(w)
	w.votes.hold = func() { panic("SECRET") }
	_, err := tokenbrokerv1.NewAdminServiceClient(s.conn).GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{})
	refused(t, err, codes.Internal, "")
	if v := g.last(t); status.Code(v.ended[0]) != codes.Internal {
		t.Errorf("the visit ended with %v", v.ended)
	}
}

// wire is the stream of one call, as gRPC hands it to a handler.
type wire struct {
	grpc.ServerStream
	ctx context.Context

	mu    sync.Mutex
	got   []int64
	lives []time.Duration
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) RecvMsg(m any) error {
	request, ok := m.(*tokenbrokerv1.WatchTokenRequest)
	if !ok {
		return io.EOF
	}
	request.Name = stable
	return nil
}

func (w *wire) SendMsg(m any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := m.(*tokenbrokerv1.WatchTokenResponse).GetToken()
	w.got, w.lives = append(w.got, sent.GetVersion()), append(w.lives, sent.GetTtl().AsDuration())
	return nil
}

func (w *wire) versions() []int64 {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// watchGuarded begins a stream with everything around its handler.
func (w *world) watchGuarded() (*wire, <-chan error) {
	streams := streaming{}
	w.server.Register(streams)
	stream := &wire{ctx: w.tb.Context()}
	ended := make(chan error, 1)
	go func() { ended <- streams["WatchToken"](w.server, stream) }()
	return stream, ended
}

// streaming keeps the handlers of streams that Register hands to gRPC.
type streaming map[string]grpc.StreamHandler

func (s streaming) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, m := range desc.Streams {
		s[m.StreamName] = m.Handler
	}
}

func TestStreamIsAskedForBeforeEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := guarded(t)
		stream, ended := w.watchGuarded()
		w.commit(stable, time.Hour)
		if got := stream.versions(); !slices.Equal(got, []int64{1, 2}) && !slices.Equal(got, []int64{2}) {
			t.Fatalf("got %v", got)
		}
		before := stream.versions()
		g.denies(outside)
		w.commit(stable, time.Hour)
		refused(t, <-ended, codes.PermissionDenied, server.ReasonDenied)
		if got := stream.versions(); !slices.Equal(got, before) {
			t.Errorf("after that it got %v", got[len(before):])
		}
		g.last(t)
	})
}

func TestStreamEndsWithinSecondsOfItsRightAlsoWhenNothingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := guarded(t)
		stream, ended := w.watchGuarded()
		stream.versions()
		time.Sleep(time.Minute)
		begin := time.Now()
		g.denies(func(server.Method, string) error { return server.Unauthenticated(access.ErrUnauthenticated) })
		refused(t, <-ended, codes.Unauthenticated, server.ReasonUnauthenticated)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it lasted %v", took)
		}
		if v := g.last(t); status.Code(v.ended[0]) != codes.Unauthenticated {
			t.Errorf("the visit ended with %v", v.ended)
		}
	})
}

func TestMessageThatTheGuardHoldsBackIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := guarded(t)
		g.hand = server.Unrecorded()
		stream, ended := w.watchGuarded()
		refused(t, <-ended, codes.Unavailable, server.ReasonAuditFull)
		if got := stream.versions(); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
}

func TestLifeThatIsToldIsTheOneThatIsLeftWhenTheGuardIsDone(t *testing.T) {
	const slow = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w, g := guarded(t)
		g.slow = slow
		ask := unaries{}
		w.server.Register(ask)
		get := func(request proto.Message) (*tokenbrokerv1.Token, error) {
			answer, err := ask["GetToken"](w.server, t.Context(), func(m any) error {
				proto.Merge(m.(proto.Message), request)
				return nil
			}, nil)
			if err != nil {
				return nil, err
			}
			return answer.(*tokenbrokerv1.GetTokenResponse).GetToken(), nil
		}
		stream, ended := w.watchGuarded()
		for range 3 {
			got, err := get(getRequest(stable, 0))
			if err != nil {
				t.Fatal(err)
			}
			left := w.view.Token(stable).Read().TTL // now that the answer has come
			if life := got.GetTtl().AsDuration(); life > left || got.GetRefreshAfter().AsDuration() > life {
				t.Errorf("%v are told, to ask again after %v; %v are left", life, got.GetRefreshAfter().AsDuration(), left)
			}
		}
		if stream.versions(); len(stream.lives) != 1 || stream.lives[0] > time.Hour-slow {
			t.Errorf("the stream was told of lives of %v", stream.lives)
		}
		time.Sleep(w.view.Token(stable).Read().TTL - slow/2)
		_, err := get(getRequest(stable, 0))
		refused(t, err, codes.Unavailable, server.ReasonExpired)
		g.denies(outside)
		refused(t, <-ended, codes.PermissionDenied, server.ReasonDenied)
	})
}

// unaries keeps the handlers of calls that Register hands to gRPC.
type unaries map[string]grpc.MethodHandler

func (u unaries) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, m := range desc.Methods {
		u[m.MethodName] = m.Handler
	}
}
