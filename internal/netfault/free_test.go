package netfault_test

import (
	"errors"
	"net"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

func TestAnAddressIsFreeAndHandedOutOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 300 { // drawn at random, two of them would be the same nearly always
		address, err := netfault.FreeAddress("127.0.0.1", net.Listen)
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s was handed out twice", address)
		}
		seen[address] = true
	}
}

func TestAnAddressThatIsTakenIsPassedOver(t *testing.T) {
	var tried []string
	address, err := netfault.FreeAddress("127.0.0.1", func(network, address string) (net.Listener, error) {
		if tried = append(tried, address); len(tried) < 3 {
			return nil, errors.New("address already in use")
		}
		return net.Listen(network, address)
	})
	if err != nil || len(tried) < 3 || address != tried[len(tried)-1] {
		t.Errorf("found %s, %v after %v", address, err, tried)
	}
	if address, err := netfault.FreeAddress("127.0.0.1", func(string, string) (net.Listener, error) { return nil, net.ErrClosed }); err == nil {
		t.Errorf("found %s where nobody can listen", address)
	}
}
