package site

import (
	"context"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// Member is one member of the etcd cluster.
type Member struct {
	*Process
	Name string
	// Endpoint is its own URL for clients, past all proxies; the same in all its lives.
	Endpoint string
	// Peers are all ways between it and the other members, in both directions.
	Peers netfault.Network
}

// Start starts the process with the data that it had. It does not wait until the member serves, for which it needs a majority. It does
// nothing if the process runs.
func (m *Member) Start(ctx context.Context) error { panic("being written") }
