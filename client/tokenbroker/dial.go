package tokenbroker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checks
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// serviceConfig is the one of docs/API.md: calls are shared among the replicas that say SERVING, wait for a connection, and are repeated
// where that is safe, which it is for all of them.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "tokenbroker.v1.TokenBrokerService"},
  "methodConfig": [{
    "name": [{"service": "tokenbroker.v1.TokenBrokerService"}],
    "waitForReady": true,
    "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]}
  }]
}`

// keepAlive notices within 40 s that a peer has vanished without a word: calls and streams on that connection end then, and go to another
// replica. Brokers accept a ping each 10 s.
func keepAlive() keepalive.ClientParameters {
	return keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}
}

// longestReconnect is how long it takes at most, but for jitter, until a replica that could not be reached is tried again, and how long an
// attempt to reach it may take. gRPC's own 2 min, and 20 s, would go by after an outage before anybody notices that it is over.
const longestReconnect = 5 * time.Second

func reconnect() grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestReconnect},
		MinConnectTimeout: longestReconnect,
	}
}

// dial prepares a connection to target. It waits for nobody. Proxies of the environment are not used: they would see the tokens.
func dial(target string, cfg config) (*grpc.ClientConn, error) {
	uri, hosts, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	if cfg.files != nil {
		if cfg.transport, err = cfg.files.Credentials(); err != nil {
			return nil, err
		}
	}
	local := here(uri, hosts)
	if cfg.transport == nil {
		if !local {
			return nil, fmt.Errorf("target %q may be another machine, to which tokens must not go in the clear: use WithTLS, or WithInsecure if that is what you want", target)
		}
		cfg.transport = insecure.NewCredentials()
	}
	if cfg.bearer != "" {
		if !local && cfg.transport.Info().SecurityProtocol == "insecure" {
			return nil, fmt.Errorf("target %q may be another machine, to which a bearer token must not go in the clear: use WithTLS or WithTLSFiles", target)
		}
		cfg.dial = append([]grpc.DialOption{grpc.WithPerRPCCredentials(BearerFile{Path: cfg.bearer, Local: local})}, cfg.dial...)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(cfg.transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepAlive()),
		grpc.WithConnectParams(reconnect()),
		grpc.WithNoProxy(),
	}
	if len(hosts) > 0 {
		brokers := manual.NewBuilderWithScheme("brokers")
		var state resolver.State
		named := cfg.transport.Info().ServerName //nolint:staticcheck // by which gRPC itself goes, for a single host
		for _, host := range hosts {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: host, ServerName: cmp.Or(named, host)}}})
		}
		brokers.InitialState(state)
		options = append(options, grpc.WithResolvers(brokers))
	}
	return grpc.NewClient(uri, append(options, cfg.dial...)...)
}

// parseTarget returns the target as gRPC takes it. Several hosts are listed with their ports; a single one is left to gRPC's resolver, which
// connects to all addresses that its name has.
func parseTarget(target string) (uri string, hosts []string, err error) {
	if target == "" {
		return "", nil, errors.New("the target is empty")
	}
	if !strings.Contains(target, ",") || strings.Contains(target, "://") {
		return target, nil, nil
	}
	for host := range strings.SplitSeq(target, ",") {
		host = strings.TrimSpace(host)
		if _, _, err := net.SplitHostPort(host); err != nil {
			return "", nil, fmt.Errorf("target %q: %q is not host:port", target, host)
		}
		hosts = append(hosts, host)
	}
	return "brokers:///" + hosts[0], hosts, nil
}

// here reports whether a target is certainly on this machine.
func here(uri string, hosts []string) bool {
	if strings.HasPrefix(uri, "unix:") || strings.HasPrefix(uri, "unix-abstract:") {
		return true
	}
	if len(hosts) == 0 {
		for _, scheme := range []string{"dns:///", "passthrough:///"} {
			uri = strings.TrimPrefix(uri, scheme)
		}
		hosts = []string{uri}
	}
	for _, host := range hosts {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			return false
		}
		if ip, err := netip.ParseAddr(name); name != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
