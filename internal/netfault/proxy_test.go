package netfault_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// soon is how long it must be silent for a test to take it for silence: nothing is proved by it but that. What must come is waited for
// without a deadline, but the test's own.
const soon = 50 * time.Millisecond

// line is a connection through a proxy: what is said at one end is heard at the other, and back.
type line struct{ client, server net.Conn }

// serve starts a proxy in front of a listener, and both end with the test.
func serve(t *testing.T) (*netfault.Proxy, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := netfault.Start(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		_ = l.Close()
	})
	return p, l
}

// open opens a connection.
func open(t *testing.T, p *netfault.Proxy, l net.Listener) line {
	t.Helper()
	client, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return line{client, server}
}

func say(t *testing.T, at net.Conn, what string) {
	t.Helper()
	if _, err := at.Write([]byte(what)); err != nil {
		t.Fatal(err)
	}
}

func hears(t *testing.T, at net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(at, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// silent fails the test if anything comes, be it the connection's end.
func silent(t *testing.T, at net.Conn) {
	t.Helper()
	if err := at.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if n, err := at.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %d bytes, %v; want silence", n, err)
	}
	if err := at.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// over waits for the end of a connection.
func over(t *testing.T, at net.Conn) {
	t.Helper()
	if n, err := at.Read(make([]byte, 1)); err == nil {
		t.Fatalf("heard %d bytes on a connection that is to be over", n)
	}
}

func TestWhatIsSaidOnAHeldWayArrivesInOrderOnceItHeals(t *testing.T) {
	for _, c := range []struct {
		name string
		held netfault.Direction
		turn func(line) (mute, other net.Conn)
	}{
		{"to the server", netfault.ToServer, func(l line) (mute, other net.Conn) { return l.client, l.server }},
		{"to the client", netfault.ToClient, func(l line) (mute, other net.Conn) { return l.server, l.client }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, l := serve(t)
			mute, other := c.turn(open(t, p, l))
			say(t, mute, "before ")
			hears(t, other, "before ")
			p.Hold(c.held)
			say(t, mute, "one ")
			say(t, mute, "two")
			silent(t, other)
			say(t, other, "the other way is open")
			hears(t, mute, "the other way is open")
			p.Heal()
			hears(t, other, "one two")
		})
	}
}

func TestAConnectionThroughAHeldProxyIsOpenedAndSilent(t *testing.T) {
	p, l := serve(t)
	p.Hold(netfault.Both)
	both := open(t, p, l)
	say(t, both.client, "to")
	say(t, both.server, "fro")
	silent(t, both.client)
	silent(t, both.server)
	p.Heal()
	hears(t, both.server, "to")
	hears(t, both.client, "fro")
}

func TestWhatIsDelayedArrivesNoEarlier(t *testing.T) {
	p, l := serve(t)
	both := open(t, p, l)
	p.Delay(netfault.ToServer, 2*soon)
	said := time.Now()
	say(t, both.client, "late")
	say(t, both.server, "at once")
	hears(t, both.client, "at once")
	hears(t, both.server, "late")
	if took := time.Since(said); took < 2*soon {
		t.Errorf("it arrived after %v, want %v at least", took, 2*soon)
	}
	p.Delay(netfault.ToServer, time.Hour)
	say(t, both.client, "never, but for Heal")
	silent(t, both.server)
	p.Heal()
	hears(t, both.server, "never, but for Heal")
}

func TestACutBreaksAllConnectionsAndRefusesNewOnesUntilItHeals(t *testing.T) {
	p, l := serve(t)
	before := open(t, p, l)
	p.Hold(netfault.ToServer)
	say(t, before.client, "lost with the connection")
	p.Cut()
	over(t, before.client)
	over(t, before.server)
	if refused, err := net.Dial("tcp", p.Address()); err == nil {
		over(t, refused)
		_ = refused.Close()
	}
	p.Heal()
	// The proxy may have reached the server before it saw that it is cut: that connection is over, and the next one is the test's.
	client, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	say(t, client, "here")
	for {
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(server, 4))
		_ = server.Close()
		if string(got) == "here" {
			return
		}
		if len(got) > 0 {
			t.Fatalf("after the cut the server heard %q, %v", got, err)
		}
	}
}

func TestANetworkBreaksAndHealsAsOne(t *testing.T) {
	p1, l1 := serve(t)
	p2, l2 := serve(t)
	all, one, two := netfault.Network{p1, p2}, open(t, p1, l1), open(t, p2, l2)
	all.Hold(netfault.ToServer)
	for _, each := range []line{one, two} {
		say(t, each.client, "x")
		silent(t, each.server)
	}
	all.Heal()
	hears(t, one.server, "x")
	hears(t, two.server, "x")
	all.Cut()
	over(t, one.client)
	over(t, two.client)
}

func TestCloseLeavesNothingBehindWhateverStands(t *testing.T) {
	mine := goleak.IgnoreCurrent()
	for name, breaks := range map[string]func(*netfault.Proxy){
		"whole":   func(*netfault.Proxy) {},
		"held":    func(p *netfault.Proxy) { p.Hold(netfault.Both) },
		"delayed": func(p *netfault.Proxy) { p.Delay(netfault.Both, time.Hour) },
		"cut":     (*netfault.Proxy).Cut,
	} {
		t.Run(name, func(t *testing.T) {
			p, l := serve(t)
			both := open(t, p, l)
			say(t, both.client, "under way")
			breaks(p)
			p.Close()
			goleak.VerifyNone(t, mine)
			over(t, both.client)
			p.Close() // once more does no harm
		})
	}
}
