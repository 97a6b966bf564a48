package site

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Broker is one replica.
type Broker struct {
	*Process
	// ID is its replica.id.
	ID string
	// GRPC and HTTP are where it listens, host:port; the same in all its lives. In a namespace they are reached by Conn alone.
	GRPC, HTTP string
	// Address is the IP address that WeChat sees.
	Address string
	// Etcd is its network to etcd: one proxy for each of Site.Members, in their order.
	Etcd netfault.Network
	// WeChat is its network to WeChat.
	WeChat *Uplink

	conn  *grpc.ClientConn
	tls   *tls.Config
	clock string // the path of the file
	gofail
}

func newBroker(dir string, number int) *Broker {
	id := fmt.Sprintf("broker-%d", number)
	return &Broker{ID: id, Address: fmt.Sprintf("10.0.0.%d", number), clock: filepath.Join(dir, id+".clock")}
}

// connect starts the networks of a replica, and describes its process. If it fails, disconnect takes down what there is.
func (b *Broker) connect(cfg Config, shown *papers, members []*Member, w *wechattest.WeChat, n *network, t *trouble) error {
	at, err := n.join(b.Address)
	if err != nil {
		return err
	}
	for _, address := range []*string{&b.GRPC, &b.HTTP, &b.gofail.address} {
		if *address, err = at.free(); err != nil {
			return err
		}
	}
	for _, m := range members {
		l, err := at.listen(at.suiteIP + ":0")
		if err != nil {
			return fmt.Errorf("starting a proxy: %w", err)
		}
		b.Etcd = append(b.Etcd, netfault.Serve(l, m.dial))
	}
	if b.WeChat, err = newUplink(at, toWeChat(w, b.Address)); err != nil {
		return err
	}
	if b.conn, err = dial(at, b.GRPC, shown.callers); err != nil {
		return err
	}
	b.tls = shown.callers
	file := filepath.Join(cfg.Dir, b.ID+".yaml")
	if err := os.WriteFile(file, []byte(cfg.yaml(b, shown)), 0o600); err != nil {
		return err
	}
	b.Process = &Process{
		Log: filepath.Join(cfg.Dir, b.ID+".log"), name: b.ID, host: at, command: []string{cfg.Broker, "serve", "--config", file},
		env: []string{
			secretVariable + "=" + secret, "HTTP_PROXY=" + b.WeChat.url(), "TOKENBROKER_CLOCK_FILE=" + b.clock,
			"GOFAIL_HTTP=" + b.gofail.address, "TMPDIR=" + cfg.Dir,
		},
		event: history.Event{Replica: b.ID}, history: cfg.History, trouble: t,
	}
	return b.SetClock(0)
}

// disconnect takes down what connect set up. The process has ended.
func (b *Broker) disconnect() {
	b.Etcd.Close()
	if b.WeChat != nil {
		b.WeChat.close()
	}
	if b.conn != nil {
		_ = b.conn.Close()
	}
}

// dial returns a connection that hides no failure: no retries, no waiting.
func dial(to *host, address string, callers *tls.Config) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(callers)), grpc.WithContextDialer(to.dial),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
	}
	if to.wire != nil {
		// Or it would be silent for as long again as the replica was away. grpc-go has the kernel go by Timeout, too.
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingTime, Timeout: vanishedTime}))
	}
	return grpc.NewClient("passthrough:///"+address, options...)
}

// Conn returns a connection to this replica alone, which hides no failure: without retries, and soon back when the replica is. It ends
// with the site.
func (b *Broker) Conn() *grpc.ClientConn { return b.conn }

// Start starts the process, and returns when it answers on its port for probes, or fails if it ends before. It does nothing if the process
// runs.
func (b *Broker) Start(ctx context.Context) error {
	l, fresh, err := b.start()
	if err != nil || !fresh {
		return err
	}
	b.forget()
	if err := eventually(ctx, func(ctx context.Context) error {
		if !l.running() {
			return finalError{fmt.Errorf("it ended at once:\n%s", tail(b.Log, l.from))}
		}
		_, err := b.host.requestTLS(ctx, b.tls, "https://"+b.HTTP+"/livez")
		return err
	}); err != nil {
		return fmt.Errorf("starting %s: %w", b.ID, err)
	}
	return nil
}

// Stop tells the process to shut down, as SIGTERM does, and returns when it has. That it takes longer than ctx, or ends with an exit code other
// than 0, is an error, and a crash: see Site.Err. A process that takes longer is ended, after it has written where its goroutines are. Stop
// does nothing if the process does not run.
func (b *Broker) Stop(ctx context.Context) error { return b.terminate(ctx) }

// SetClock sets the wall clock of the process off by an offset, from now on and in all its later lives, as a jump; 0 is right. The
// file named by the environment variable TOKENBROKER_CLOCK_FILE then holds the offset as time.Duration writes it ("-10m0s"). It
// works on a test build.
func (b *Broker) SetClock(offset time.Duration) error {
	// Never half written: the process may read at any moment.
	fresh := b.clock + ".new"
	err := os.WriteFile(fresh, []byte(offset.String()), 0o600)
	if err == nil {
		err = os.Rename(fresh, b.clock)
	}
	if err != nil {
		return fmt.Errorf("setting the clock of %s: %w", b.ID, err)
	}
	return nil
}

// serves returns nil when the replica hands out all of the tokens.
func (b *Broker) serves(ctx context.Context, tokens []Token) error {
	for _, t := range tokens {
		// With a min_ttl the replica waits for a token.
		req := &tokenbrokerv1.GetTokenRequest{Name: t.Name, MinTtl: durationpb.New(time.Millisecond)}
		if _, err := tokenbrokerv1.NewTokenBrokerServiceClient(b.conn).GetToken(ctx, req); err != nil {
			return fmt.Errorf("getting %s from %s: %w", t.Name, b.ID, err)
		}
	}
	return nil
}
