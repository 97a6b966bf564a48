package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checks
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

const (
	serverVariable  = envPrefix + "SERVER"
	timeoutVariable = envPrefix + "TIMEOUT"
	defaultServer   = "127.0.0.1:7700"
)

// client is what every command that calls a broker has in common.
type client struct {
	console
	security
	servers []string
	timeout time.Duration
	output  string
	outputs []string
}

// newClient adds the common flags to cmd. outputs are the forms of output that the command knows, the first being the default.
func newClient(c console, cmd *cobra.Command, timeout time.Duration, outputs ...string) *client {
	cl := &client{console: c, outputs: outputs}
	f := cmd.Flags()
	cl.addConnection(cmd)
	f.DurationVar(&cl.timeout, "timeout", timeout, "how long the command may take (env "+timeoutVariable+")")
	if len(outputs) > 0 {
		f.StringVarP(&cl.output, "output", "o", outputs[0], "form of the output: "+enumerate(outputs, "or"))
		_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return cl.settle(cmd) }
	return cl
}

// addConnection adds the flags that say whom to call, and how.
func (c *client) addConnection(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&c.servers, "server", nil,
		"host:port of a broker, or unix:///PATH of an agent; several, by commas, share the calls (env "+serverVariable+", default "+defaultServer+")")
	c.security.addFlags(cmd)
}

// settleConnection takes what no flag says of whom to call, and how, from the environment, and checks it.
func (c *client) settleConnection(cmd *cobra.Command) error {
	if text, _ := c.env.Getenv(serverVariable); len(c.servers) == 0 && text != "" {
		c.servers = strings.Split(text, ",")
	}
	if len(c.servers) == 0 {
		c.servers = []string{defaultServer}
	}
	for i, server := range c.servers {
		c.servers[i] = strings.TrimSpace(server)
		if _, _, err := net.SplitHostPort(c.servers[i]); err != nil && !isSocket(c.servers[i]) {
			return fmt.Errorf("server %q is not host:port", server)
		}
	}
	return c.security.settle(cmd, c.env, c.servers)
}

// settle takes what was not said by flags from the environment, and checks all of it.
func (c *client) settle(cmd *cobra.Command) error {
	if err := c.settleConnection(cmd); err != nil {
		return err
	}
	if text, _ := c.env.Getenv(timeoutVariable); text != "" && !cmd.Flags().Changed("timeout") {
		var err error
		if c.timeout, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s is not a duration such as 10s", timeoutVariable)
		}
	}
	if c.timeout <= 0 {
		return fmt.Errorf("the timeout %v is not positive", c.timeout)
	}
	if len(c.outputs) > 0 && !slices.Contains(c.outputs, c.output) {
		return fmt.Errorf("output %q is not possible; write %s", c.output, enumerate(c.outputs, "or"))
	}
	return nil
}

// Service configs. Calls wait for a broker that can be reached; those that only read, or that the broker recognises when they are
// repeated, are repeated. Callers of tokens avoid replicas that say NOT_SERVING; operators may want just those.
const (
	callerConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "tokenbroker.v1.TokenBrokerService"},
  "methodConfig": [{
    "name": [{"service": "tokenbroker.v1.TokenBrokerService"}],
    "waitForReady": true,
    "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]}
  }]
}`
	operatorConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{"name": [{"service": "tokenbroker.v1.AdminService"}], "waitForReady": true}]
}`
)

// dial returns a connection to brokers, unencrypted if opts do not say otherwise. It does not wait until one is reached. Proxies of the
// environment are not used: they would see the tokens.
func dial(servers []string, serviceConfig string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	brokers := manual.NewBuilderWithScheme("brokers")
	var state resolver.State
	for _, server := range servers {
		address := resolver.Address{Addr: server}
		if !isSocket(server) {
			address.ServerName = server // each shows a certificate of its own
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	brokers.InitialState(state)
	return grpc.NewClient("brokers:///"+servers[0], append([]grpc.DialOption{
		grpc.WithResolvers(brokers),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithNoProxy(),
	}, opts...)...)
}

// dial returns a connection to the brokers of the command line, secured as that says.
func (c *client) dial(serviceConfig string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	secure, err := c.security.dialOptions()
	if err == nil {
		var conn *grpc.ClientConn
		if conn, err = dial(c.servers, serviceConfig, append(opts, secure...)...); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("preparing the connection: %w", err)
}

// call makes one call within the time allowed, and closes the connection.
func (c *client) call(ctx context.Context, serviceConfig string, do func(context.Context, *grpc.ClientConn, ...grpc.CallOption) error) error {
	var refused refusals
	conn, err := c.dial(serviceConfig, grpc.WithStatsHandler(&refused))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var from peer.Peer
	if err := do(ctx, conn, grpc.Peer(&from)); err != nil {
		return c.callError(refused.explain(err), &from)
	}
	return nil
}

// callError is err with what is needed to explain it: who was asked, and who answered if anyone did.
func (c *client) callError(err error, from *peer.Peer) error {
	e := &callError{servers: c.servers, security: &c.security, status: status.Convert(err)}
	if from.Addr != nil {
		e.peer = from.Addr.String()
	}
	return e
}
