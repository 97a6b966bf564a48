package main

import (
	"log/slog"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// sealingConfig is how values are kept at rest, in etcd and in the snapshot.
type sealingConfig struct {
	// Keyset is nil if there is none, or after a dry run.
	Keyset *seal.Keyset
	// From says for people where it was read; empty if none is configured.
	From string
}

// sealing reads where the keyset is. unsealed says that values may stand as they are: alone, it takes the place of a keyset; beside one, it
// makes what was written before be read until it is sealed.
func (s *section) sealing(unsealed bool) sealingConfig {
	var c sealingConfig
	ref := s.section("keyset")
	file, env := ref.get("file"), ref.get("env")
	switch path, name := file.str(""), env.str(""); {
	case ref.broken:
	case file.given && env.given:
		ref.fail("both file and env are given", "keep one of them")
	case path != "":
		c.From = "file " + path
		c.Keyset = file.keysetFile(path)
	case name != "":
		c.From = "environment " + name
		c.Keyset = env.keysetVariable(name)
	case ref.present || s.present:
		ref.fail("the keyset is missing", "say where it is: {file: PATH} or {env: NAME}; broker keys create PATH makes one")
	case !unsealed:
		s.fail("there is no keyset: tokens would lie in etcd as they are, for everyone who reads it or a backup of it",
			"run broker keys create PATH, and write sealing: {keyset: {file: PATH}}; or, to try something out, insecure_plaintext_store: true")
	}
	ref.end()
	s.end()
	return c
}

// warn says at each start what insecure_plaintext_store means.
func (c sealingConfig) warn(log *slog.Logger, unsealed bool) {
	switch {
	case unsealed && c.Keyset == nil:
		log.Warn("TOKENS LIE IN ETCD AND IN THE SNAPSHOT AS THEY ARE: whoever reads etcd, a backup of it or the disk has them",
			"setting", "insecure_plaintext_store", "remedy", "run broker keys create FILE, and switch sealing on as docs/KEYS.md says")
	case unsealed:
		log.Warn("values that are not sealed are taken in beside the keyset: whoever can write to etcd can bring tokens in",
			"setting", "insecure_plaintext_store", "remedy", "run broker keys reseal, then take the setting away")
	}
}

// describe says for people how values are kept.
func (c sealingConfig) describe(unsealed bool) string {
	switch {
	case c.From == "":
		return "as they are"
	case unsealed:
		return "sealed, keyset in " + c.From + "; values that are not are taken in"
	default:
		return "sealed, keyset in " + c.From
	}
}

// keysetFile reads a keyset from a file.
func (v value) keysetFile(path string) *seal.Keyset {
	text, ok := v.fileText(path, seal.MaxSize, "let it be what broker keys create has written")
	if !ok {
		return nil
	}
	return v.keyset(text, "the file named here")
}

// keysetVariable reads a keyset from an environment variable.
func (v value) keysetVariable(name string) *seal.Keyset {
	text, ok := v.variableText(name, "set it to what broker keys create has written, or use file instead")
	if !ok {
		return nil
	}
	return v.keyset(text, "the environment variable named here")
}

func (v value) keyset(text, where string) *seal.Keyset {
	if strings.TrimSpace(text) == "" {
		v.fail(where+" is empty", "let it hold what broker keys create has written")
		return nil
	}
	k, err := seal.Parse([]byte(text))
	if err != nil {
		v.fail(where+" holds no keyset that can be used: "+err.Error(), "let it hold what broker keys create has written")
		return nil
	}
	return k
}

// sealer is what the store seals with.
func (c sealingConfig) sealer(unsealed bool) store.Sealer {
	switch {
	case c.Keyset == nil:
		return seal.None{}
	case unsealed:
		return seal.Tolerant{Keyset: c.Keyset}
	default:
		return c.Keyset
	}
}

// keys lists the keys, for comparing two configurations.
func (c sealingConfig) keys() []seal.Key {
	if c.Keyset == nil {
		return nil
	}
	return c.Keyset.Keys()
}
