package transport

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/crowd"
)

// Limits are how many connections may be open at once; 0 is any number.
type Limits struct {
	Connections int
	// PerAddress is of one address of IPv4, or of one /64 of IPv6, which is what one subscriber has.
	PerAddress int
}

// Door is a listener that closes connections beyond its limits at once. It is a prometheus.Collector of them, too.
type Door struct {
	net.Listener

	open       prometheus.GaugeFunc
	refused    *prometheus.CounterVec
	mu         sync.Mutex
	limits     Limits
	count      int
	byNeighbor map[netip.Prefix]int // nothing is kept of those who have no connection
}

// NewDoor returns a Door before a listener; name is for metrics. Close closes the listener, and none of the connections.
func NewDoor(l net.Listener, name string, limits Limits) *Door {
	labels := prometheus.Labels{"listener": name}
	d := &Door{Listener: l, limits: limits, byNeighbor: map[netip.Prefix]int{}}
	d.open = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tokenbroker_connections", Help: "Connections that are open.", ConstLabels: labels,
	}, func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(d.count)
	})
	d.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name:        "tokenbroker_connections_refused_total",
		Help:        "Connections that were closed at once: too many in all (limits.connections), or from one address (limits.connections_per_address).",
		ConstLabels: labels,
	}, []string{"limit"})
	for _, limit := range []string{limitAll, limitAddress} {
		d.refused.WithLabelValues(limit)
	}
	return d
}

const limitAll, limitAddress = "connections", "connections_per_address"

// Set changes the limits. Connections that are open stay.
func (d *Door) Set(limits Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits = limits
}

// Accept implements net.Listener.
func (d *Door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := crowd.Neighborhood(conn.RemoteAddr().String())
		limit := d.enter(from)
		if limit == "" {
			return &guest{Conn: conn, leave: func() { d.leave(from) }}, nil
		}
		d.refused.WithLabelValues(limit).Inc()
		conn.Close()
	}
}

// enter counts a connection in, or returns the limit that is in its way.
func (d *Door) enter(from netip.Prefix) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.limits.Connections > 0 && d.count >= d.limits.Connections:
		return limitAll
	case d.limits.PerAddress > 0 && from.IsValid() && d.byNeighbor[from] >= d.limits.PerAddress:
		return limitAddress
	}
	d.count++
	d.byNeighbor[from]++
	return ""
}

func (d *Door) leave(from netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count--
	if d.byNeighbor[from]--; d.byNeighbor[from] == 0 {
		delete(d.byNeighbor, from)
	}
}

// guest is a connection that says when it is closed.
type guest struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	err := g.Conn.Close()
	g.once.Do(g.leave)
	return err
}

// CloseWrite lets an HTTP server end an answer whose request it has not read: the caller would lose it to a reset otherwise.
func (g *guest) CloseWrite() error {
	if half, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Describe implements prometheus.Collector.
func (d *Door) Describe(descs chan<- *prometheus.Desc) {
	d.open.Describe(descs)
	d.refused.Describe(descs)
}

// Collect implements prometheus.Collector.
func (d *Door) Collect(metrics chan<- prometheus.Metric) {
	d.open.Collect(metrics)
	d.refused.Collect(metrics)
}
