package netfault

import "time"

// Network is several proxies that break together: all ways between one and several others.
type Network []*Proxy

// Hold does what Proxy.Hold does, on every proxy.
func (n Network) Hold(d Direction) {
	for _, p := range n {
		p.Hold(d)
	}
}

// Delay does what Proxy.Delay does, on every proxy.
func (n Network) Delay(d Direction, by time.Duration) {
	for _, p := range n {
		p.Delay(d, by)
	}
}

// Cut does what Proxy.Cut does, on every proxy.
func (n Network) Cut() {
	for _, p := range n {
		p.Cut()
	}
}

// Heal does what Proxy.Heal does, on every proxy.
func (n Network) Heal() {
	for _, p := range n {
		p.Heal()
	}
}

// Close does what Proxy.Close does, on every proxy.
func (n Network) Close() {
	for _, p := range n {
		p.Close()
	}
}
