package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// envPrefix begins the name of every environment variable that the program reads.
const envPrefix = "TOKENBROKER_"

// environment is what a configuration depends on outside its file. Tests bring their own.
type environment struct {
	// Getenv is os.LookupEnv.
	Getenv func(string) (string, bool)
	// Environ lists the environment as os.Environ does.
	Environ func() []string
	// Hostname is os.Hostname.
	Hostname func() (string, error)
}

func systemEnvironment() environment {
	return environment{Getenv: os.LookupEnv, Environ: os.Environ, Hostname: os.Hostname}
}

// decoder reads settings by their path from flags, environment and file, in this order, and collects what is wrong with them.
type decoder struct {
	file  string
	env   environment
	flags map[string]string // by path, those given on the command line only
	dry   bool              // read no file and no variable that the configuration refers to

	problems, warnings problems
	variables          map[string]bool // environment variables that were looked for
}

// section is one mapping of the file, which may be absent, together with what overrides it.
type section struct {
	*decoder
	path   string
	at     position
	values map[string]value // of the file
	keys   map[string]position
	known  []string // the fields that were asked for
	// present: the file has the section, or something overrides one of its fields.
	present bool
	// broken: something else than a mapping stands there, and was reported.
	broken bool
}

// value is a setting: a node of the file, or text from a flag or the environment.
type value struct {
	*decoder
	path string
	at   position
	node *yaml.Node // nil if text was given elsewhere
	text string
	// given is false for the zero value: nobody made the setting.
	given bool
}

func (d *decoder) place(n *yaml.Node) position { return position{d.file, n.Line, n.Column} }

// root starts at the top of the tree, which is nil for an empty file.
func (d *decoder) root(n *yaml.Node) *section {
	top := value{decoder: d, at: position{Source: d.file, Line: 1, Column: 1}}
	if n != nil {
		top = value{decoder: d, at: d.place(n), node: n, given: true}
	}
	return top.section()
}

// section reads the value as a mapping. If it is none, the section has no values.
func (v value) section() *section {
	s := &section{decoder: v.decoder, path: v.path, at: v.at, values: map[string]value{}, keys: map[string]position{}}
	s.present = v.given || v.overridden(v.path)
	switch {
	case !v.given:
	case v.node == nil || v.node.Kind != yaml.MappingNode:
		s.broken = true
		v.fail("a group of fields is expected here", "broker config example shows what belongs into it")
	default:
		for i := 0; i < len(v.node.Content); i += 2 {
			key, val := v.node.Content[i], v.node.Content[i+1]
			s.keys[key.Value] = v.place(key)
			s.values[key.Value] = value{decoder: v.decoder, path: s.sub(key.Value), at: v.place(val), node: val, given: val.Tag != "!!null"}
		}
	}
	return s
}

func (s *section) sub(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// section returns the section of that name. When nobody wrote it, it is empty and not present.
func (s *section) section(key string) *section {
	s.known = append(s.known, key)
	v, ok := s.values[key]
	if !ok {
		v = value{decoder: s.decoder, path: s.sub(key), at: s.at}
	}
	return v.section()
}

// get returns the setting of that name: of the flag, the environment variable or the file, whichever comes first.
func (s *section) get(key string) value {
	s.known = append(s.known, key)
	path := s.sub(key)
	if v, ok := s.override(path); ok {
		return v
	}
	if v, ok := s.values[key]; ok {
		return v
	}
	return value{decoder: s.decoder, path: path, at: s.at}
}

// override looks for a setting outside the file. What is in a list cannot be overridden.
func (s *section) override(path string) (value, bool) {
	if strings.Contains(path, "[") {
		return value{}, false
	}
	v := value{decoder: s.decoder, path: path, given: true}
	name := envName(path)
	s.variables[name] = true
	if text, ok := s.flags[path]; ok {
		v.text, v.at.Source = text, "flag --"+flagName(path)
		return v, true
	}
	if text, _ := s.env.Getenv(name); text != "" {
		v.text, v.at.Source = text, "environment "+name
		return v, true
	}
	return value{}, false
}

// overridden reports whether any field of a section is set outside the file.
func (d *decoder) overridden(path string) bool {
	for flag := range d.flags {
		if strings.HasPrefix(flag, path+".") {
			return true
		}
	}
	return slices.ContainsFunc(d.env.Environ(), func(pair string) bool {
		name, text, _ := strings.Cut(pair, "=")
		return text != "" && strings.HasPrefix(name, envName(path)+"_")
	})
}

// ignore makes end take fields for known that nobody could ask for.
func (s *section) ignore(keys ...string) { s.known = append(s.known, keys...) }

// end reports the fields that nobody asked for.
func (s *section) end() {
	slices.Sort(s.known)
	s.known = slices.Compact(s.known)
	for key, at := range s.keys {
		if _, known := slices.BinarySearch(s.known, key); !known {
			s.problems = append(s.problems, problem{position: at, Path: s.path,
				What: "unknown field" + fieldName(key), Remedy: "known here are " + enumerate(s.known, "and")})
		}
	}
}

// unknownVariables warns of variables with our prefix that name no setting, except those that Kubernetes makes for a service.
func (d *decoder) unknownVariables(others ...string) {
	for _, pair := range d.env.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || d.variables[name] || slices.Contains(others, name) {
			continue
		}
		if strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT") {
			continue
		}
		d.warnings = append(d.warnings, problem{position: position{Source: "environment " + name},
			What: "no setting has this name", Remedy: "take it away, or see broker config example for the right one"})
	}
}

// envName is the environment variable for a path: TOKENBROKER_GRPC_LISTEN for grpc.listen.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// flagName is the flag for a path: grpc-listen for grpc.listen.
func flagName(path string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(path)
}

// fail reports that the value is wrong.
func (v value) fail(what, remedy string) {
	v.problems = append(v.problems, problem{position: v.at, Path: v.path, What: what, Remedy: remedy})
}

// warn reports that the value is questionable.
func (v value) warn(what, remedy string) {
	v.warnings = append(v.warnings, problem{position: v.at, Path: v.path, What: what, Remedy: remedy})
}

// fail reports that the section as a whole is wrong.
func (s *section) fail(what, remedy string) {
	s.problems = append(s.problems, problem{position: s.at, Path: s.path, What: what, Remedy: remedy})
}

func itoa(n int) string { return fmt.Sprint(n) }
