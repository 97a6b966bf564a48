package server_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const serving, notServing = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING

// service is a world whose server serves a client.
type service struct {
	*world
	tokenbrokerv1.TokenBrokerServiceClient
	conn *grpc.ClientConn

	stop  context.CancelFunc
	ended chan error
}

// serve runs the world's server until the test ends.
func serve(w *world) *service {
	w.tb.Helper()
	listener := bufconn.Listen(1 << 20)
	conn, err := grpc.NewClient("passthrough:///broker",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &service{
		world: w, TokenBrokerServiceClient: tokenbrokerv1.NewTokenBrokerServiceClient(conn), conn: conn, stop: stop, ended: make(chan error, 1),
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.ended <- w.server.Run(ctx, listener)
	}()
	w.tb.Cleanup(func() {
		_ = conn.Close()
		stop()
		<-over
	})
	return s
}

// check asks for health until it is the one that is wanted.
func (s *service) check(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.tb.Helper()
	client := grpc_health_v1.NewHealthClient(s.conn)
	for {
		response, err := client.Check(s.tb.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			s.tb.Fatalf("health of %q: %v", service, err)
		}
		if response.GetStatus() == want {
			return
		}
	}
}

var services = []string{"", "tokenbroker.v1.TokenBrokerService", "tokenbroker.v1.AdminService"}

func TestHealthIsServingOnceTheViewHasLoadedWhetherItLeadsOrNot(t *testing.T) {
	s := serve(newBlankWorld(t, clock.New(), server.Config{}))
	for _, name := range services {
		s.check(name, notServing)
	}
	if s.server.Ready() {
		t.Error("ready before the view has loaded")
	}
	s.load()
	for _, name := range services {
		s.check(name, serving)
	}
	if !s.server.Ready() {
		t.Error("not ready although the view has loaded")
	}
}

func TestRetiredReplicaIsNotServingAndGoesOnAnswering(t *testing.T) {
	s := serve(newWorld(t))
	s.commit(stable, time.Hour)
	s.check("", serving)
	s.server.Retire()
	for _, name := range services {
		s.check(name, notServing)
	}
	if s.server.Ready() {
		t.Error("ready although retired")
	}
	if _, err := s.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable}); err != nil {
		t.Error(err)
	}
}

func TestReplicaThatRetiresBeforeTheViewLoadsNeverServes(t *testing.T) {
	s := serve(newBlankWorld(t, clock.New(), server.Config{}))
	s.server.Retire()
	s.load()
	s.check("", notServing)
	if s.server.Ready() {
		t.Error("ready although retired")
	}
}

func TestShutdownEndsStreamsAndWaitsAndLetsNoCallHang(t *testing.T) {
	s := serve(newWorld(t))
	s.commit(stable, time.Hour)
	ctx := t.Context()
	watch, err := s.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: stable})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	s.check("", serving)
	health, err := grpc_health_v1.NewHealthClient(s.conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := health.Recv(); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 2)
	go func() {
		_, err := s.GetToken(ctx, getRequest(classic, time.Minute))
		waits <- err
	}()
	go func() {
		_, err := s.ReportInvalidToken(ctx, byVersion(stable, 1))
		waits <- err
	}()
	s.awaitStarted("GetToken", 1)
	s.awaitStarted("ReportInvalidToken", 1)

	begin := time.Now()
	s.stop()
	_, err = watch.Recv()
	refused(t, err, codes.Unavailable, server.ReasonDraining)
	for range 2 {
		if err := <-waits; status.Code(err) != codes.Unavailable {
			t.Errorf("a wait ended with %v", err)
		}
	}
	for {
		response, err := health.Recv()
		if err != nil {
			break
		}
		if response.GetStatus() == serving {
			t.Error("the health stream told SERVING during the shutdown")
		}
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(begin); took > server.DefaultDrainTimeout/2 {
		t.Errorf("the shutdown took %v", took)
	}
}

func TestCallUnderWayIsFinishedBeforeTheServerStops(t *testing.T) {
	w := newWorld(t)
	listing := make(chan struct{})
	answer := make(chan struct{})
	w.votes.hold = func() { close(listing); <-answer }
	s := serve(w)
	got := make(chan error, 1)
	go func() {
		_, err := tokenbrokerv1.NewAdminServiceClient(s.conn).GetStatus(context.Background(), &tokenbrokerv1.GetStatusRequest{})
		got <- err
	}()
	<-listing
	s.stop()
	for s.server.Ready() {
		time.Sleep(time.Millisecond)
	}
	close(answer)
	if err := <-got; err != nil {
		t.Errorf("the call ended with %v", err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestCallThatOutlastsTheDrainIsCutOff(t *testing.T) {
	w := newBlankWorld(t, clock.New(), server.Config{DrainTimeout: 50 * time.Millisecond})
	arrived, release := make(chan struct{}), make(chan struct{})
	w.votes.hold = func() { close(arrived); <-release }
	s := serve(w)
	got := make(chan error, 1)
	go func() {
		_, err := tokenbrokerv1.NewAdminServiceClient(s.conn).GetStatus(context.Background(), &tokenbrokerv1.GetStatusRequest{})
		got <- err
	}()
	<-arrived
	begin := time.Now()
	s.stop()
	err := <-got
	if took := time.Since(begin); status.Code(err) != codes.Unavailable || took < 50*time.Millisecond {
		t.Errorf("cut off after %v with %v", took, err)
	}
	close(release)
	if err := <-s.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestServerThatCannotServeSaysWhy(t *testing.T) {
	w := newWorld(t)
	listener := bufconn.Listen(1)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.server.Run(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "serving gRPC") {
		t.Errorf("Run returned %v", err)
	}
}

func TestSlowReaderOfARealStreamSkipsVersions(t *testing.T) {
	s := serve(newWorld(t))
	s.commit(stable, time.Hour)
	watch, err := s.WatchToken(t.Context(), &tokenbrokerv1.WatchTokenRequest{Name: stable})
	if err != nil {
		t.Fatal(err)
	}
	big := token.NewSecret(strings.Repeat("x", token.MaxValueSize))
	const last = 2000 // 8 MB, many times what the transport buffers
	for range last - 1 {
		s.commit(stable, time.Hour)
		s.write(stable, func(rec *token.Record) { rec.Value = big })
	}
	var received int
	for version := int64(0); version < last; received++ {
		response, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if v := response.GetToken().GetVersion(); v < version {
			t.Fatalf("version %d came after %d", v, version)
		}
		version = response.GetToken().GetVersion()
	}
	if received > last/2 {
		t.Errorf("%d of %d versions were queued", received, last)
	}
}

func TestReflectionIsServedOnlyWhereItIsWanted(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		s := serve(newBlankWorld(t, clock.New(), server.Config{Reflection: wanted}))
		stream, err := grpc_reflection_v1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
		response, err := stream.Recv()
		if !wanted {
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("reflection is off, and answers %v, %v", response, err)
			}
			continue
		}
		if err != nil || len(response.GetListServicesResponse().GetService()) != 5 {
			t.Errorf("reflection is on, and answers %v, %v", response, err)
		}
	}
}

func TestRequestThatIsNoMessageIsRefusedAndNotLogged(t *testing.T) {
	s := serve(newWorld(t))
	garbage := &emptypb.Empty{}
	garbage.ProtoReflect().SetUnknown([]byte{0x0a, 0x02, 0xff, 0xff}) // name: not UTF-8
	for _, method := range []string{"GetToken", "WatchToken"} {
		stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/tokenbroker.v1.TokenBrokerService/"+method)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(garbage); err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		refused(t, stream.RecvMsg(garbage), codes.Internal, "") // as gRPC has it
	}
	if strings.Contains(s.log.String(), "rpc failed") {
		t.Errorf("logged: %s", s.log)
	}
}

func TestOversizedRequestIsRefused(t *testing.T) {
	s := serve(newWorld(t))
	_, err := s.ReportInvalidToken(t.Context(), byValue(strings.Repeat("x", 1<<17)))
	refused(t, err, codes.ResourceExhausted, "")
}

func TestConnectionWithoutCallsIsClosedAndComesBackWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(newWorld(t))
		s.commit(stable, 24*time.Hour)
		get := func() {
			t.Helper()
			if _, err := s.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable}); err != nil {
				t.Fatal(err)
			}
		}
		get()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if state := s.conn.GetState(); state != connectivity.Ready {
			t.Errorf("after nine minutes the connection is %v", state)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if state := s.conn.GetState(); state == connectivity.Ready {
			t.Error("after eleven minutes without a call it is still open")
		}
		get()
	})
}
