package crowd_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/crowd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNobodyTakesTheRoomOfOthersAndWhoLeavesMakesRoom(t *testing.T) {
	c := crowd.New(5, 2)
	var leave []func()
	for _, step := range []struct {
		address string
		ok      bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", true}, {"192.0.2.1:3", false},
		{"[::ffff:192.0.2.1]:4", false}, // the same
		{"[2001:db8::1]:1", true}, {"[2001:db8::2%eth0]:1", true}, {"[2001:db8::3]:1", false},
		{"[2001:db8:0:1::1]:1", true},
		{"192.0.2.2:1", false}, // full
	} {
		out, ok := c.Enter(step.address)
		if ok != step.ok {
			t.Fatalf("Enter(%q) = %v, want %v", step.address, ok, step.ok)
		}
		if ok {
			leave = append(leave, out)
		}
	}
	leave[0]()
	if _, ok := c.Enter("[2001:db8::3]:1"); ok {
		t.Error("who leaves has made room for another address' share")
	}
	out, ok := c.Enter("192.0.2.1:5")
	if !ok {
		t.Fatal("who leaves makes no room")
	}
	out()
	for _, out := range leave[1:] {
		out()
	}
	for range 2 {
		if _, ok := c.Enter("a socket"); !ok {
			t.Error("what is no address finds no room in an empty crowd")
		}
	}
	if _, ok := c.Enter("another"); ok {
		t.Error("what is no address is not counted together")
	}
}
