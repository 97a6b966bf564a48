package main

// limitsConfig bounds what callers may take from one replica, so that none takes what others need. The first four are for each identity,
// and mean nothing where callers are not asked who they are; those without an identity are limited by the address they come from.
type limitsConfig struct {
	// Rate is how many calls a second, and Burst how many at once after a rest. Default 500 and 1000.
	Rate, Burst int
	// Streams are the watches that may be open at once. Default 500.
	Streams int
	// Calls are the other calls that may be under way at once: they may wait for a new token. Default 500.
	Calls int
	// Connections that each listener takes at once, and of them from one address. Default 4096 and 1024.
	Connections, ConnectionsPerAddress int
}

func (s *section) limits() limitsConfig {
	most := func(key string, otherwise int64) int { return int(min(s.get(key).count(otherwise, 1), 1<<31-1)) }
	c := limitsConfig{
		Rate: most("rate", 500), Burst: most("burst", 1000), Streams: most("streams", 500), Calls: most("calls", 500),
		Connections: most("connections", 4096), ConnectionsPerAddress: most("connections_per_address", 1024),
	}
	s.end()
	return c
}
