package site

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// Broker is one replica.
type Broker struct {
	*Process
	// ID is its replica.id.
	ID string
	// GRPC and HTTP are where it listens, host:port; the same in all its lives.
	GRPC, HTTP string
	// Address is the IP address that WeChat sees.
	Address string
	// Etcd is its network to etcd: one proxy for each of Site.Members, in their order.
	Etcd netfault.Network
	// WeChat is its network to WeChat.
	WeChat *Uplink
}

// Uplink is the way of one broker to WeChat.
type Uplink struct{}

// Cut breaks all connections and refuses new ones, as a closed port does.
func (u *Uplink) Cut() { panic("being written") }

// Heal undoes Cut.
func (u *Uplink) Heal() error { panic("being written") }

// Start starts the process, and returns when it answers on its port for probes, or fails if it ends before. It does nothing if the process
// runs.
func (b *Broker) Start(ctx context.Context) error { panic("being written") }

// Stop tells the process to shut down, as SIGTERM does, and returns when it has. That it takes longer than ctx, or ends with an exit code other
// than 0, is an error, and a crash: see Site.Err. A process that takes longer is killed, after it has written where its goroutines are. Stop
// does nothing if the process does not run.
func (b *Broker) Stop(ctx context.Context) error { panic("being written") }

// Conn returns a connection to this replica alone, which hides no failure: without retries, and soon back when the replica is. It ends
// with the site.
func (b *Broker) Conn() *grpc.ClientConn { panic("being written") }

// SetClock sets the wall clock of the process off by an offset, from now on and in all its later lives, as a jump; 0 is right. The
// file named by the environment variable TOKENBROKER_CLOCK_FILE then holds the offset as time.Duration writes it ("-10m0s"). It
// works on a test build.
func (b *Broker) SetClock(offset time.Duration) error { panic("being written") }

// Failpoint has a failpoint of the process do what gofail's terms say ("panic", "sleep(5000)", "1*sleep(200)"), until the process
// ends; empty terms turn it off. It works on a test build.
func (b *Broker) Failpoint(ctx context.Context, name, terms string) error { panic("being written") }

// FailpointCount returns how often a failpoint's terms have struck since they were set. It is 0 where none are set.
func (b *Broker) FailpointCount(ctx context.Context, name string) (int, error) {
	panic("being written")
}
