package site

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// wire joins two namespaces. It ends with either of them.
type wire struct{ near, far card }

// card is one end of a wire, a virtual network card.
type card struct {
	at         *namespace
	index      int
	own, other net.IP
}

// lay lays a wire between two namespaces. The address nearIP is reached from far, and farIP from near, and nothing else.
func lay(near, far *namespace, nearIP, farIP string) (*wire, error) {
	w := &wire{
		near: card{at: near, own: net.ParseIP(nearIP).To4(), other: net.ParseIP(farIP).To4()},
		far:  card{at: far, own: net.ParseIP(farIP).To4(), other: net.ParseIP(nearIP).To4()},
	}
	const farName = "wire"
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "to-"+farIP, hardware(w.near.own)
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerHardwareAddr, pair.PeerNamespace = farName, hardware(w.far.own), netlink.NsFd(far.handle)
	err := near.rtnl.LinkAdd(pair)
	if err == nil {
		err = errors.Join(w.near.setUp(attrs.Name), w.far.setUp(farName))
	}
	if err == nil {
		err = w.appear()
	}
	if err != nil {
		return nil, fmt.Errorf("joining two: %w", err)
	}
	return w, nil
}

// hardware is the hardware address of the card that has an IP address.
func hardware(ip net.IP) net.HardwareAddr { return append(net.HardwareAddr{2, 0}, ip...) }

// setUp gives the card its address and turns it on.
func (c *card) setUp(name string) error {
	link, err := c.at.rtnl.LinkByName(name)
	if err != nil {
		return err
	}
	c.index = link.Attrs().Index
	alone := net.CIDRMask(32, 32)
	if err := c.at.rtnl.AddrAdd(link, &netlink.Addr{
		IPNet: &net.IPNet{IP: c.own, Mask: alone}, Peer: &net.IPNet{IP: c.other, Mask: alone},
	}); err != nil {
		return err
	}
	return c.at.rtnl.LinkSetUp(link)
}

// vanish has either end send to a hardware address that nobody has. The other end drops what arrives so, and nobody is told: packets are
// lost, as on a broken way between two networks. To pull the plug would do less, since the kernel refuses new connections at an end
// whose card is off.
func (w *wire) vanish() error {
	nobody := hardware(net.IPv4bcast.To4())
	return errors.Join(w.near.send(nobody), w.far.send(nobody))
}

// appear undoes vanish.
func (w *wire) appear() error {
	return errors.Join(w.near.send(hardware(w.near.other)), w.far.send(hardware(w.far.other)))
}

// send sends everything to a hardware address, which is not asked for.
func (c *card) send(to net.HardwareAddr) error {
	return c.at.rtnl.NeighSet(&netlink.Neigh{LinkIndex: c.index, State: netlink.NUD_PERMANENT, IP: c.other, HardwareAddr: to})
}

const (
	// patience is how long brokers bear with a member of etcd that acknowledges nothing.
	patience = time.Second
	// tcpUserTimeout is TCP_USER_TIMEOUT of <linux/tcp.h>.
	tcpUserTimeout = 18
)

// hurry has a TCP connection over the wire break when something that was sent is not acknowledged for as long as brokers bear with.
func (*wire) hurry(c net.Conn) error {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("hurrying %T: it is no socket", c)
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		gone := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(patience.Milliseconds()))
		})
		err = errors.Join(gone, err)
	}
	if err != nil {
		return fmt.Errorf("hurrying a connection: %w", err)
	}
	return nil
}
