package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// broker is one replica: a `broker serve` that can be ended and started again on the same ports.
type broker struct {
	*process
	program        string // its path
	id, grpc, http string // the addresses are host:port
	// etcd and tokens are those sections of the configuration, as YAML.
	etcd, tokens string
	// env is the environment, with the secrets.
	env       []string
	logFormat string
	file      string
	conn      *grpc.ClientConn
}

// newBroker describes a replica and picks its ports; nothing runs yet.
func newBroker(t *testing.T, id, etcd, tokens string) *broker {
	t.Helper()
	b := &broker{
		program: program, id: id, etcd: etcd, tokens: tokens, env: []string{secretVariable + "=" + secret}, logFormat: "text",
		file: filepath.Join(t.TempDir(), id+".yaml"),
	}
	b.move(t)
	return b
}

// move gives the replica new ports, and a client for them.
func (b *broker) move(t *testing.T) {
	t.Helper()
	b.grpc, b.http = etcdtest.FreeAddress(t), etcdtest.FreeAddress(t)
	b.conn = dial(t, b.grpc)
}

// configure writes the configuration file.
func (b *broker) configure(t *testing.T) {
	t.Helper()
	text := fmt.Sprintf(`replica: {id: %s}
plaintext: true
insecure_plaintext_store: true
grpc: {listen: %q, reflection: true}
http: {listen: %q}
log: {level: debug, format: %s}
election: {session_ttl: %v}
etcd: %s
tokens:
%s`, b.id, b.grpc, b.http, b.logFormat, sessionTTL, b.etcd, b.tokens)
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// launch starts the process, and waits until it listens. If another program was quicker to take one of the ports, the replica moves.
func (b *broker) launch(t *testing.T) {
	t.Helper()
	for {
		b.configure(t)
		b.process = start(t, b.env, b.program, "serve", "--config", b.file)
		eventually(t, ample, b.id+" listens", func() bool {
			return strings.Contains(b.err.String(), "advertise") || !b.running()
		})
		switch {
		case b.running():
			return
		case !strings.Contains(b.err.String(), "address already in use"):
			t.Fatalf("%s ended:\n%s", b.id, b.err.String())
		}
		b.move(t)
	}
}

// restart starts the replica again after it has ended, on the same ports: clients have them.
func (b *broker) restart(t *testing.T) {
	t.Helper()
	b.process = start(t, b.env, b.program, "serve", "--config", b.file)
	b.awaitReady(t)
}

// awaitReady waits until the replica says that it serves.
func (b *broker) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, ample, b.id+" is ready", func() bool {
		if !b.running() {
			t.Fatalf("%s ended:\n%s", b.id, b.err.String())
		}
		code, _ := fetch(t, "http://"+b.http+"/readyz")
		return code == http.StatusOK
	})
}

// stop tells the replica to shut down, and checks that it does so in good order.
func (b *broker) stop(t *testing.T) {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	if code := b.exit(t); code != 0 {
		t.Errorf("%s shut down with exit code %d", b.id, code)
	}
}

func (b *broker) service() tokenbrokerv1.TokenBrokerServiceClient {
	return tokenbrokerv1.NewTokenBrokerServiceClient(b.conn)
}

func (b *broker) admin() tokenbrokerv1.AdminServiceClient {
	return tokenbrokerv1.NewAdminServiceClient(b.conn)
}

// status asks the replica for its picture of the cluster; nil if it does not answer.
func (b *broker) status(t *testing.T) *tokenbrokerv1.GetStatusResponse {
	t.Helper()
	s, err := b.admin().GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{})
	if err != nil {
		return nil
	}
	return s
}
