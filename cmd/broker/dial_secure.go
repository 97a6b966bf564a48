package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

// Environment variables of callers. There is none for --plaintext: who sends tokens in the clear says so each time.
const (
	tlsVariable        = envPrefix + "TLS"
	caVariable         = envPrefix + "CA_FILE"
	certVariable       = envPrefix + "CERT_FILE"
	keyVariable        = envPrefix + "KEY_FILE"
	serverNameVariable = envPrefix + "SERVER_NAME"
	bearerVariable     = envPrefix + "BEARER_TOKEN_FILE"
)

// callerVariables are all variables that callers read: a broker does not take them for mistyped settings.
func callerVariables() []string {
	return []string{serverVariable, timeoutVariable, tlsVariable, caVariable, certVariable, keyVariable, serverNameVariable, bearerVariable}
}

// security is how the connection to the brokers is kept from others, and what proves who is calling.
type security struct {
	files     tokenbroker.TLSFiles
	bearer    string
	tls       bool // said, or to be had from files
	plaintext bool // said

	local bool // the brokers are on this machine
}

// addFlags adds the flags of it.
func (s *security) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.tls, "tls", false, "encrypt, and check the broker's certificate against the system's authorities (env "+tlsVariable+")")
	f.StringVar(&s.files.CAFile, "ca-file", "", "encrypt, and check the broker's certificate against the authorities in this PEM file (env "+caVariable+")")
	f.StringVar(&s.files.CertFile, "cert-file", "", "certificate that says who is calling, PEM (env "+certVariable+")")
	f.StringVar(&s.files.KeyFile, "key-file", "", "key of --cert-file, PEM (env "+keyVariable+")")
	f.StringVar(&s.files.ServerName, "server-name", "", "name in the broker's certificate, where it is not that of --server (env "+serverNameVariable+")")
	f.StringVar(&s.bearer, "bearer-token-file", "", "file with the caller's static token or JWT, read for each call (env "+bearerVariable+")")
	f.BoolVar(&s.plaintext, "plaintext", false, "let tokens go to another machine unencrypted")
}

// said lists the flags that the command line has.
func (s *security) said(cmd *cobra.Command) []string {
	return slices.DeleteFunc([]string{"tls", "ca-file", "cert-file", "key-file", "server-name", "bearer-token-file"},
		func(name string) bool { return !cmd.Flags().Changed(name) })
}

// settle takes from the environment what no flag says, and refuses what would send a secret in the clear to another machine.
func (s *security) settle(cmd *cobra.Command, env environment, servers []string) error {
	said := s.said(cmd)
	sockets := len(slices.DeleteFunc(slices.Clone(servers), func(server string) bool { return !isSocket(server) }))
	switch {
	case s.plaintext && len(said) > 0 && !slices.Equal(said, []string{"bearer-token-file"}):
		return fmt.Errorf("--plaintext and --%s contradict each other: keep one of them", said[0])
	case sockets > 0 && sockets < len(servers):
		return errors.New("sockets and host:port cannot be mixed: name agents or brokers")
	case sockets > 0 && len(said) > 0:
		return fmt.Errorf("--%s is for brokers: an agent's socket is protected by its permissions, leave it out", said[0])
	case sockets > 0:
		*s = security{local: true} // whatever the environment says of brokers
		return nil
	}
	if err := s.inherit(env); err != nil {
		return err
	}
	s.tls = !s.plaintext && (s.tls || s.files != tokenbroker.TLSFiles{})
	remote := slices.IndexFunc(servers, func(server string) bool {
		host, _, err := net.SplitHostPort(server)
		return err != nil || host == "" || !loopback(host)
	})
	s.local = remote < 0
	switch {
	case (s.files.CertFile == "") != (s.files.KeyFile == ""):
		return errors.New("--cert-file and --key-file belong together: give both or neither")
	case s.tls || s.local:
		return nil
	case !s.plaintext:
		return fmt.Errorf("%s is another machine, to which tokens must not go unencrypted: give --ca-file, or --tls for the system's authorities, or --plaintext if that is what you want",
			servers[remote])
	case s.bearer != "":
		return fmt.Errorf("%s is another machine, to which the token in --bearer-token-file must not go unencrypted: give --ca-file or --tls", servers[remote])
	}
	return nil
}

// inherit takes from the environment what no flag says. --plaintext is said of a connection for which the environment may ask for TLS.
func (s *security) inherit(env environment) error {
	take := func(to *string, variable string) {
		if text, _ := env.Getenv(variable); *to == "" {
			*to = text
		}
	}
	take(&s.bearer, bearerVariable)
	if s.plaintext {
		return nil
	}
	take(&s.files.CAFile, caVariable)
	if s.files.CertFile == "" && s.files.KeyFile == "" { // of one pair
		take(&s.files.CertFile, certVariable)
		take(&s.files.KeyFile, keyVariable)
	}
	take(&s.files.ServerName, serverNameVariable)
	if text, _ := env.Getenv(tlsVariable); text != "" && !s.tls {
		var err error
		if s.tls, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%s is neither true nor false", tlsVariable)
		}
	}
	return nil
}

// isSocket reports whether a server is an agent's unix socket.
func isSocket(server string) bool { return strings.HasPrefix(server, "unix:") }

// anonymous: nothing says who is calling.
func (s *security) anonymous() bool { return s.bearer == "" && s.files.CertFile == "" }

// dialOptions secures a connection of gRPC. What cannot be read fails here rather than in each attempt to connect.
func (s *security) dialOptions() ([]grpc.DialOption, error) {
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if s.tls {
		creds, err := s.files.Credentials()
		if err != nil {
			return nil, err
		}
		opts[0] = grpc.WithTransportCredentials(creds)
	}
	if s.bearer != "" {
		bearer := tokenbroker.BearerFile{Path: s.bearer, Local: s.local}
		if _, err := bearer.GetRequestMetadata(context.Background()); err != nil {
			return nil, err
		}
		opts = append(opts, grpc.WithPerRPCCredentials(bearer))
	}
	return opts, nil
}

// clientOptions secures a client of the SDK.
func (s *security) clientOptions() []tokenbroker.Option {
	var opts []tokenbroker.Option
	switch {
	case s.tls:
		opts = append(opts, tokenbroker.WithTLSFiles(s.files))
	case s.plaintext:
		opts = append(opts, tokenbroker.WithInsecure())
	}
	if s.bearer != "" {
		opts = append(opts, tokenbroker.WithBearerFile(s.bearer))
	}
	return opts
}
