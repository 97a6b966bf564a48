package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
)

// bill is a bill of materials: the part of CycloneDX 1.6 that a Go program has something to say to.
type bill struct {
	BOMFormat    string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string          `json:"type"`
	Ref        string          `json:"bom-ref"`
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	PURL       string          `json:"purl"`
	Licences   []licenceChoice `json:"licenses,omitempty"`
	Properties []property      `json:"properties,omitempty"`
}

type licenceChoice struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// printBill writes the bill of materials of a program, which need not be of this machine's kind.
func printBill(ctx context.Context, file, version, commit string, out io.Writer) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	paths := make([]string, 0, len(info.Deps))
	for _, m := range info.Deps {
		paths = append(paths, m.Path)
	}
	found, err := locate(ctx, paths)
	if err != nil {
		return err
	}
	b, err := newBill(info, version, commit, found)
	if err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(b)
}

// newBill lists what the program says that it was built from. Build information knows the modules, and not which of them wants which.
func newBill(info *debug.BuildInfo, version, commit string, found map[string]module) (bill, error) {
	program := component{
		Type: "application", Name: info.Path, Version: cmp.Or(version, info.Main.Version), Licences: choices([]string{"Apache-2.0"}),
		PURL: purl(info.Main.Path, cmp.Or(version, info.Main.Version)),
	}
	program.Ref = program.PURL
	settings := []string{"-trimpath", "CGO_ENABLED", "GOARCH", "GOOS", "GOAMD64", "GOARM64"}
	program.Properties = append(program.Properties, property{"go:version", info.GoVersion})
	for _, s := range info.Settings {
		if slices.Contains(settings, s.Key) {
			program.Properties = append(program.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	if commit != "" {
		program.Properties = append(program.Properties, property{"vcs:commit", commit})
	}

	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	parts := []component{{
		Type: "library", Ref: purl("std", goVersion), Name: "std", Version: goVersion, PURL: purl("std", goVersion), Licences: choices([]string{"BSD-3-Clause"}),
	}}
	for _, m := range info.Deps {
		if m.Replace != nil || m.Sum == "" || found[m.Path].Version != m.Version {
			return bill{}, fmt.Errorf("%s %s is not what go.mod asks for: build the program again", m.Path, m.Version)
		}
		parts = append(parts, component{
			Type: "library", Ref: purl(m.Path, m.Version), Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version),
			Licences: choices(found[m.Path].Licences), Properties: []property{{"go:sum", m.Sum}},
		})
	}
	slices.SortFunc(parts, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	wants := []dependency{{Ref: program.Ref}}
	for _, p := range parts {
		wants[0].DependsOn = append(wants[0].DependsOn, p.Ref)
		wants = append(wants, dependency{Ref: p.Ref})
	}
	return bill{
		BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{program}, Components: parts, Dependencies: wants,
	}, nil
}

// purl is a module's name everywhere.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func choices(ids []string) []licenceChoice {
	all := make([]licenceChoice, len(ids))
	for i, id := range ids {
		all[i].License.ID = id
	}
	return all
}
