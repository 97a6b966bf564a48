package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"
)

const (
	configVariable = envPrefix + "CONFIG"
	defaultConfig  = "broker.yaml"
)

// flagged lists the settings that have a flag of their own, with what --help says of them. Every setting outside a list has an
// environment variable.
var flagged = []struct{ path, usage string }{
	{"replica.id", "this replica's id (default: the host name)"},
	{"replica.advertise", "host:port at which others reach this replica"},
	{"grpc.listen", "host:port of the gRPC API"},
	{"grpc.reflection", "let grpcurl discover the API: true or false"},
	{"http.listen", "host:port of /metrics, /livez and /readyz"},
	{"gateway.listen", "host:port of the API over HTTP (default: there is none)"},
	{"log.level", "debug, info, warn or error"},
	{"log.format", "text or json"},
	{"etcd.endpoints", "URLs of etcd, by commas"},
	{"etcd.namespace", "prefix of every key in etcd"},
	{"etcd.embedded.data_dir", "run etcd inside the broker, with this folder"},
	{"snapshot.file", "keep what this replica holds in this file, for a start without etcd"},
	{"plaintext", "serve without TLS, on loopback only: true or false"},
	{"insecure_plaintext_store", "keep tokens in etcd and in the snapshot as they are: true or false"},
}

// switches are the settings in flagged whose flag means true where no value is given.
var switches = []string{"grpc.reflection", "plaintext", "insecure_plaintext_store"}

// configSource is the part of a command line that says where the configuration comes from.
type configSource struct {
	console
	cmd  *cobra.Command
	file string
}

// newConfigSource adds the flags for every setting in flagged.
func newConfigSource(c console, cmd *cobra.Command) *configSource {
	for _, s := range flagged {
		cmd.Flags().String(flagName(s.path), "", s.usage+" (env "+envName(s.path)+")")
	}
	for _, path := range switches {
		cmd.Flags().Lookup(flagName(path)).NoOptDefVal = "true"
	}
	return &configSource{console: c, cmd: cmd}
}

// name is the file to read, "-" being standard input: as the command line says, or else the environment.
func (s *configSource) name() string {
	if s.file != "" {
		return s.file
	}
	if name, _ := s.env.Getenv(configVariable); name != "" {
		return name
	}
	return defaultConfig
}

// load reads the file anew, together with the flags and the environment. dry leaves secrets and certificates unread. The error is of type problems, unless the file itself cannot be read.
func (s *configSource) load(dry bool) (*config, problems, error) {
	src := sources{File: s.name(), Env: s.env, Dry: dry, Flags: map[string]string{}}
	var err error
	if src.File == "-" {
		src.File = "standard input"
		src.Data, err = io.ReadAll(io.LimitReader(s.in, maxConfigSize+1))
	} else {
		src.Data, _, err = readSmall(src.File, maxConfigSize+1)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", withFile(err, src.File))
	}
	for _, f := range flagged {
		if flag := s.cmd.Flags().Lookup(flagName(f.path)); flag.Changed {
			src.Flags[f.path] = flag.Value.String()
		}
	}
	return loadConfig(src)
}

// withFile names the file in an error that does not.
func withFile(err error, name string) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("%s %w", name, err)
}
