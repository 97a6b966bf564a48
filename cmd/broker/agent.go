package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/agent"
)

// agentFlags is the command line of an agent.
type agentFlags struct {
	client
	listen, listenHTTP   string
	socketMode, fileMode mode
	tokens               []string
	statements, values   []string
	files                []agent.File
	anyMode              bool
	level, format        string
	log                  logConfig
}

// agentCommand has no --timeout: an agent starts, and goes on, whether or not a broker can be reached. For the same reason an agent is no
// client, but for its servers.
func agentCommand(c console) *cobra.Command {
	a := &agentFlags{client: client{console: c}, socketMode: 0o660, fileMode: 0o600}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent: one process that keeps tokens at hand for all programs of a host",
		Long: `Follows tokens at the brokers, and hands them out to the programs of this host: over gRPC and over HTTP, WeChat's own calls included, on
unix sockets or loopback addresses, and in files. While the brokers are away it goes on with what it has, until the true end of each token.

Whoever can connect gets every token that the brokers let the agent have: the permissions of a unix socket decide who that is, and on a loopback address it
is every user of the host. WeChat's own calls take the word "` + agent.Secret + `" for a secret. No AppSecret is needed, or accepted.

A file written by --file is JSON that says until when it can be believed. One written by --value-file is the value alone; it is removed when there
is no living token, and when the agent ends. docs/AGENT.md has all of it.

Exit codes:
  0  shut down as told
  1  failed; standard error says why
  64 the command line is wrong`,
		Example: `  broker agent --server broker-1:7700,broker-2:7700 --tls --bearer-token-file /run/secrets/broker \
    --listen unix:///run/broker/agent.sock --http-listen 127.0.0.1:7791
  broker agent --server broker-1:7700 --ca-file ca.pem --cert-file agent.pem --key-file agent-key.pem --file shop=/run/wx/shop.json`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	a.addConnection(cmd)
	f.StringVar(&a.listen, "listen", "", "serve gRPC here: unix:///PATH, or a loopback host:port")
	f.StringVar(&a.listenHTTP, "http-listen", "", "serve HTTP here: unix:///PATH, or a loopback host:port")
	f.Var(&a.socketMode, "socket-mode", "permissions of unix sockets")
	f.StringSliceVar(&a.tokens, "token", nil, "follow this token from the start; others are from the first call on (repeatable)")
	f.StringArrayVar(&a.statements, "file", nil, "keep NAME=PATH up to date with token NAME, as JSON (repeatable)")
	f.StringArrayVar(&a.values, "value-file", nil, "keep NAME=PATH up to date with the value of token NAME (repeatable)")
	f.Var(&a.fileMode, "file-mode", "permissions of files")
	f.BoolVar(&a.anyMode, "wechat-any-mode", false, "answer WeChat's calls for a stable token with a classic one, and the other way round, where there is no other")
	f.StringVar(&a.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&a.format, "log-format", "text", "text or json")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return a.settle(cmd) }
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error { return a.run(ctx) })
	return cmd
}

// settle checks the whole command line.
func (a *agentFlags) settle(cmd *cobra.Command) error {
	if err := a.settleConnection(cmd); err != nil {
		return err
	}
	var err error
	if a.log.Level, err = parseLevel(a.level); err != nil {
		return err
	}
	if a.log.JSON = a.format == "json"; !a.log.JSON && a.format != "text" {
		return fmt.Errorf("log format %q is not possible; write text or json", a.format)
	}
	taken := map[string]bool{}
	for i, text := range slices.Concat(a.statements, a.values) {
		name, path, ok := strings.Cut(text, "=")
		if !ok || name == "" || path == "" {
			return fmt.Errorf("file %q: write NAME=PATH", text)
		}
		if path = filepath.Clean(path); taken[path] {
			return fmt.Errorf("file %s is to hold two tokens", path)
		}
		taken[path] = true
		a.files = append(a.files, agent.File{Token: name, Path: path, Bare: i >= len(a.statements), Mode: fs.FileMode(a.fileMode)})
	}
	if a.listen == "" && a.listenHTTP == "" && len(a.files) == 0 {
		return errors.New("an agent without --listen, --http-listen, --file and --value-file is of no use")
	}
	return nil
}

// run blocks until ctx has ended and everything is taken down.
func (a *agentFlags) run(ctx context.Context) error {
	log := newLogger(a.err, a.log)
	cfg := agent.Config{
		Target: strings.Join(a.servers, ","), Options: a.clientOptions(),
		Tokens: a.tokens, Files: a.files, AnyMode: a.anyMode, Logger: log,
	}
	var err error
	if cfg.GRPC, err = a.open(a.listen); err != nil {
		return err
	}
	if cfg.HTTP, err = a.open(a.listenHTTP); err != nil {
		if cfg.GRPC != nil {
			cfg.GRPC.Close()
		}
		return err
	}
	log.Info("starting", "version", thisBuild().Version, "servers", cfg.Target, "tls", a.tls, "grpc", where(cfg.GRPC), "http", where(cfg.HTTP),
		"tokens", len(a.tokens), "files", len(a.files))
	if err := agent.Run(ctx, cfg); err != nil {
		return err
	}
	log.Info("shut down")
	return nil
}

// open listens on an address; on none, if that is empty.
func (a *agentFlags) open(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	return agent.Listen(address, fs.FileMode(a.socketMode))
}

// mode is a flag for permissions, in octal.
type mode fs.FileMode

// Set implements pflag.Value.
func (m *mode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return errors.New("write permissions such as 0660")
	}
	*m = mode(n)
	return nil
}

// String implements pflag.Value.
func (m *mode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Type implements pflag.Value.
func (m *mode) Type() string { return "mode" }
