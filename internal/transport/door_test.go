package transport_test

import (
	"io"
	"net"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// arrivals is a listener of connections in memory that come from where the test says.
type arrivals chan net.Conn

func (a arrivals) Accept() (net.Conn, error) {
	conn, ok := <-a
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (a arrivals) Close() error   { close(a); return nil }
func (a arrivals) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection with an address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1234}
}

// knock has a connection arrive from each address in turn, and returns those that were let in, and by whom of the others the door was shut.
func knock(t *testing.T, d *transport.Door, a arrivals, addresses ...string) []net.Conn {
	t.Helper()
	in := make(chan net.Conn)
	go func() {
		defer close(in)
		for {
			conn, err := d.Accept()
			if err != nil {
				return
			}
			in <- conn
		}
	}()
	var guests []net.Conn
	for _, address := range addresses {
		near, far := net.Pipe()
		a <- from{far, address}
		shut := make(chan struct{})
		go func() {
			defer close(shut)
			_, _ = near.Read(make([]byte, 1)) // ends when the door is shut, or the guest leaves
		}()
		select {
		case conn := <-in:
			guests = append(guests, conn)
		case <-shut:
			guests = append(guests, nil)
		}
		t.Cleanup(func() { near.Close(); <-shut })
	}
	close(a)
	<-in
	return guests
}

func TestADoorLetsInSoManyInAllAndFromEachAddress(t *testing.T) {
	a := arrivals(make(chan net.Conn))
	d := transport.NewDoor(a, "grpc", transport.Limits{Connections: 5, PerAddress: 2})
	guests := knock(t, d, a,
		"192.0.2.1", "192.0.2.1", "192.0.2.1", // the third is one too many
		"::ffff:192.0.2.1",                               // the same address
		"2001:db8::1", "2001:db8::ffff", "2001:db8:0::2", // the same /64: the third is one too many
		"2001:db8:0:1::1", // another one
		"192.0.2.9",       // one too many in all
	)
	want := []bool{true, true, false, false, true, true, false, true, false}
	for i, conn := range guests {
		if (conn != nil) != want[i] {
			t.Errorf("the connection %d is let in: %v", i, conn != nil)
		}
	}
	if n := sample(t, d, "tokenbroker_connections", "grpc"); n != 5 {
		t.Errorf("%v connections are counted", n)
	}
	byAddress, inAll := sample(t, d, "tokenbroker_connections_refused_total", "connections_per_address", "grpc"), sample(t, d, "tokenbroker_connections_refused_total", "connections", "grpc")
	if byAddress != 3 || inAll != 1 {
		t.Errorf("%v refused by address, %v in all", byAddress, inAll)
	}
	for _, conn := range guests {
		if conn != nil {
			conn.Close()
			conn.Close() // counts once
		}
	}
	if n := sample(t, d, "tokenbroker_connections", "grpc"); n != 0 {
		t.Errorf("%v connections are left", n)
	}
}

func TestADoorsLimitsCanChange(t *testing.T) {
	l := listenTCP(t)
	d := transport.NewDoor(l, "gateway", transport.Limits{})
	defer d.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := d.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 3 {
		dial()
		conn := <-accepted
		t.Cleanup(func() { conn.Close() })
	}
	d.Set(transport.Limits{PerAddress: 3})
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("the fourth was let in")
	}
	d.Set(transport.Limits{PerAddress: 4})
	last := dial()
	conn := <-accepted
	// Half a connection can be closed: an HTTP server does so.
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		t.Error("cannot be closed by half")
	}
	if _, err := io.ReadAll(last); err != nil {
		t.Error(err)
	}
	conn.Close()
}
