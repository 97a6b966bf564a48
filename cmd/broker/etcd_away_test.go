package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// lockUp makes an etcd ask for a name and a password; without one it lets nobody in, and is quick to say so.
func lockUp(t *testing.T, etcd *etcdtest.Server, password string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := etcd.Client(t)
	if _, err := c.RoleAdd(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UserAddWithOptions(ctx, "root", password, &clientv3.UserAddOptions{NoPassword: password == ""}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestAClientWithAPasswordIsThereBeforeItsEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	lockUp(t, etcd, "right-password")
	for password, refusal := range map[string]string{"right-password": "", "wrong-password": "authentication failed"} {
		etcd.Stop()
		c := etcdConfig{Endpoints: []string{etcd.Endpoint()}, Username: "root", Password: token.NewSecret(password)}
		began := time.Now()
		err := withEtcd(t.Context(), c, slog.New(slog.DiscardHandler), func(ctx context.Context, client *clientv3.Client) error {
			if took := time.Since(began); took > etcdDialTimeout/2 {
				t.Errorf("the client waited %v for etcd", took)
			}
			etcd.Restart(t)
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			return use(ctx, client)
		})
		if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Errorf("with the %s: %v", password, err)
		}
	}
}

// named is an etcd that knows its client by a certificate whose name may do nothing: without a token it denies everything.
type named struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedAuthServer
}

func (named) Authenticate(_ context.Context, req *etcdserverpb.AuthenticateRequest) (*etcdserverpb.AuthenticateResponse, error) {
	if req.Name != "tokenbroker" || req.Password != "right-password" {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	return &etcdserverpb.AuthenticateResponse{Header: &etcdserverpb.ResponseHeader{}, Token: "the token"}, nil
}

func (named) Range(ctx context.Context, _ *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if md, _ := metadata.FromIncomingContext(ctx); !slices.Equal(md.Get("token"), []string{"the token"}) {
		return nil, rpctypes.ErrGRPCPermissionDenied
	}
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{}}, nil
}

func TestAClientWithACertificateAndAPasswordLogsIn(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, named{})
	etcdserverpb.RegisterAuthServer(server, named{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		<-ended
	}()
	for password, want := range map[string]string{"right-password": "", "wrong-password": "authentication failed"} {
		c := etcdConfig{Username: "tokenbroker", Password: token.NewSecret(password)}
		client, err := dialEtcd(c, []string{"http://" + listener.Addr().String()}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err = client.Get(ctx, "key"); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("with the %s: %v", password, err)
		}
		cancel()
		_ = client.Close()
	}
}

// use makes one call of each kind that the broker makes.
func use(ctx context.Context, client *clientv3.Client) error {
	watch := client.Watch(ctx, "key", clientv3.WithCreatedNotify())
	if _, err := client.Get(ctx, "key"); err != nil {
		return err
	}
	if created := <-watch; created.Err() != nil {
		return created.Err()
	}
	lease, err := client.Grant(ctx, 5)
	if err != nil {
		return err
	}
	if _, err := client.KeepAliveOnce(ctx, lease.ID); err != nil {
		return err
	}
	_, err = client.Txn(ctx).Then(clientv3.OpPut("key", "value", clientv3.WithLease(lease.ID))).Commit()
	return err
}

func TestTheWorkDoesNotWaitForTheMajorityOfAnEmbeddedCluster(t *testing.T) {
	// Nobody listens on ports 1 and 3; the member's own address must only match.
	c := etcdConfig{Embedded: &embeddedConfig{
		DataDir: t.TempDir(), Name: "a", ListenClient: "http://127.0.0.1:0", ListenPeer: "http://127.0.0.1:0", AdvertisePeer: "http://127.0.0.1:2",
		InitialCluster: map[string]string{"a": "http://127.0.0.1:2", "b": "http://127.0.0.1:1", "c": "http://127.0.0.1:3"},
	}}
	worked := false
	if err := withEtcd(t.Context(), c, slog.New(slog.DiscardHandler), func(ctx context.Context, _ *clientv3.Client) error {
		worked = true
		return ctx.Err()
	}); err != nil || !worked {
		t.Errorf("the work was done: %v; %v", worked, err)
	}
}

func TestAWrongPasswordIsToldAndEndsNothing(t *testing.T) {
	s := newSite(t)
	lockUp(t, s.etcd, "")
	b := &broker{file: filepath.Join(s.dir, "r1.yaml")}
	b.configure(t, s, "r1", tokenA)
	b.program = launch(t, map[string]string{
		"TOKENBROKER_ETCD_USERNAME": "root", "TOKENBROKER_ETCD_PASSWORD_ENV": "PASSWORD", "PASSWORD": "wrong-password",
	}, "serve", "-c", b.file)
	found := listening.FindStringSubmatch(b.err.await(t, "msg=starting"))
	b.err.await(t, "authentication failed")
	if text := b.err.await(t, "an etcd does not answer"); strings.Contains(text, "wrong-password") {
		t.Errorf("the password is logged:\n%s", text)
	}
	if got := page(t, "http://"+found[2]+"/livez"); !strings.HasPrefix(got, "200") {
		t.Errorf("the replica is not alive: %s", got)
	}
	if code := b.exit(t); code != 0 {
		t.Errorf("told to stop it ends with %d", code)
	}
}
