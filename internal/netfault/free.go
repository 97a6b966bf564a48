package netfault

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// handedOut has the ports that FreeAddress has returned in this process: what listens there may have been stopped, and come back.
var handedOut sync.Map

// FreeAddress returns an address with this IP that nobody listens on, and never the same port twice. The port lies below the range from
// which systems take ports for outgoing connections, so that it is still free when what was stopped there comes back. listen is
// net.Listen, wherever that is to be called.
func FreeAddress(ip string, listen func(network, address string) (net.Listener, error)) (string, error) {
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		address := net.JoinHostPort(ip, strconv.Itoa(port))
		if l, err := listen("tcp", address); err == nil {
			_ = l.Close()
			return address, nil
		}
	}
	return "", errors.New("finding a free port: there is none")
}
