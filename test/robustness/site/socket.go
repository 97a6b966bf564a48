package site

import (
	"context"
	"net"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// dialTime is how long it is tried to reach a process that may have vanished: longer than anybody waits for a connection.
const dialTime = 5 * time.Second

// listen opens a listener in a namespace.
func listen(at *namespace, address string) (l net.Listener, err error) {
	err = at.do(func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// dialFrom opens a connection from a namespace. An IP address is dialled by the goroutine that calls, and so on the thread that is there.
func dialFrom(ctx context.Context, from *namespace, address string) (c net.Conn, err error) {
	err = from.do(func() error {
		c, err = (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

// freeAddress returns an address that nobody listens on there, nor will while a process that was stopped is away. It is not drawn from the
// run's seed, which would draw the same for two runs at once.
func freeAddress(at *namespace, ip string) (string, error) {
	return netfault.FreeAddress(ip, func(_, address string) (net.Listener, error) { return listen(at, address) })
}
