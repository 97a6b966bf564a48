package main

import (
	"regexp"
	"time"
)

// sources is where a configuration comes from. Flags override the environment, that overrides the file, that overrides defaults.
type sources struct {
	// File names the file in messages; Data is its content.
	File string
	Data []byte
	// Flags are the settings given on the command line, by their path: "grpc.listen".
	Flags map[string]string
	Env   environment
	// Dry: what the configuration refers to (secrets, certificates) is not read.
	Dry bool
}

// loadConfig reads a configuration. The error, if any, is of type problems and tells everything that is wrong; warnings are worth
// showing in either case.
func loadConfig(src sources) (cfg *config, warnings problems, err error) {
	d := &decoder{file: src.File, env: src.Env, flags: src.Flags, dry: src.Dry, variables: map[string]bool{}}
	tree := parseYAML(src.File, src.Data, func(p problem) { d.problems = append(d.problems, p) })
	if len(d.problems) > 0 && tree == nil {
		return nil, nil, d.problems // not YAML: everything else would be a consequence
	}
	top := d.root(tree)
	if top.broken {
		return nil, nil, d.problems
	}
	cfg = &config{PlaintextStore: top.get("insecure_plaintext_store").boolean(false)}
	cfg.Replica = top.section("replica").replica()
	top.transport(cfg)
	cfg.GRPC = top.section("grpc").grpc(cfg.Plaintext)
	cfg.HTTP = top.section("http").http(cfg.Plaintext)
	cfg.Gateway = top.section("gateway").gateway(cfg.Plaintext)
	cfg.Log = top.section("log").log()
	cfg.Etcd = top.section("etcd").etcd(cfg.Replica.ID)
	cfg.Election = top.section("election").election()
	cfg.Snapshot = top.section("snapshot").snapshot()
	cfg.Sealing = top.section("sealing").sealing(cfg.PlaintextStore)
	cfg.Limits = top.section("limits").limits()
	cfg.Audit = top.section("audit").audit()
	cfg.Tokens = top.tokens()
	cfg.Clients = top.clients(cfg.Tokens, cfg.Gateway)
	cfg.Authentication = top.authentication()
	cfg.Policy = top.grants(cfg)
	top.checkGuarded(cfg)
	top.end()
	d.unknownVariables(append(callerVariables(), configVariable)...)
	if len(d.problems) > 0 {
		return nil, d.warnings.sorted(), d.problems.sorted()
	}
	return cfg, d.warnings.sorted(), nil
}

// replicaID is what host names consist of, and what is harmless in logs, metric labels and JSON.
var replicaID = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// The readers below have one section each. A reader asks for every field that the section may have, also when the section is not
// there (then it gets defaults and overrides), and calls end, which reports the fields that it did not ask for.

func (s *section) replica() replicaConfig {
	id := s.get("id")
	c := replicaConfig{ID: id.str("")}
	if !id.given {
		host, err := s.env.Hostname()
		if err != nil {
			id.fail("the name of this machine cannot be learned", "give the replica an id")
			host = "unknown"
		}
		c.ID = host
	}
	if !replicaID.MatchString(c.ID) {
		id.fail(quote(c.ID)+" cannot be a replica's id", "write letters, digits, '.', '_' and '-'")
	}
	c.Advertise = s.get("advertise").hostPort("", true)
	s.end()
	return c
}

func (s *section) grpc(plaintext bool) grpcConfig {
	listen := s.get("listen")
	c := grpcConfig{
		Listen:           listen.hostPort("127.0.0.1:7700", false),
		Reflection:       s.get("reflection").boolean(false),
		MaxConnectionAge: s.get("max_connection_age").duration(30*time.Minute, 0, 0),
	}
	listen.checkPlaintext(c.Listen, plaintext)
	s.end()
	return c
}

func (s *section) http(plaintext bool) httpConfig {
	listen := s.get("listen")
	c := httpConfig{Listen: listen.hostPort("127.0.0.1:7780", false)}
	listen.checkPlaintext(c.Listen, plaintext)
	s.end()
	return c
}

func (s *section) log() logConfig {
	var c logConfig
	c.Level, _ = parseLevel(s.get("level").oneOf("info", "debug", "info", "warn", "error")) // oneOf has refused all others
	c.JSON = s.get("format").oneOf("text", "text", "json") == "json"
	s.end()
	return c
}

func (s *section) election() electionConfig {
	ttl := s.get("session_ttl")
	c := electionConfig{SessionTTL: ttl.duration(5*time.Second, 2*time.Second, time.Minute)}
	if c.SessionTTL%time.Second != 0 {
		ttl.fail(c.SessionTTL.String()+" is not a whole number of seconds", "etcd counts in seconds: write 5s, for instance")
	}
	s.end()
	return c
}
