package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// atRoot lets a test run where the program does.
func atRoot(t *testing.T) {
	t.Helper()
	brokertest.NoteSources()
	t.Chdir(filepath.Join("..", ".."))
}

func TestThePageAndTheLicencesAreInOrder(t *testing.T) {
	atRoot(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"check"}, &out); err != nil {
		t.Error(err)
	}
}

func TestAPageThatDiffersFromGoModIsFound(t *testing.T) {
	const head = "| module | what for | licence |\n|---|---|---|\n"
	all := map[string]module{"a.org/x": {Licences: []string{"MIT"}}, "b.org/y": {Licences: []string{"Apache-2.0", "MIT"}}}
	const x, y = "| `a.org/x` | a reason | MIT |\n", "| `b.org/y` | another | Apache-2.0, MIT |\n"
	if err := compare(head+x+y, []string{"a.org/x", "b.org/y"}, all); err != nil {
		t.Errorf("a page in order: %v", err)
	}
	for page, want := range map[string]string{
		x:                                      "b.org/y is asked for by go.mod, and not listed",
		x + y + "| `c.org/z` | gone | MIT |\n": "c.org/z is listed, and go.mod does not ask for it",
		x + y + x:                              "a.org/x is listed twice",
		"| `a.org/x` |  | MIT |\n" + y:         "a.org/x is listed without a reason",
		"| `a.org/x` | a reason | BSD-3-Clause |\n" + y: `a.org/x is listed under "BSD-3-Clause", and its licence is MIT`,
	} {
		if err := compare(head+page, []string{"a.org/x", "b.org/y"}, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestOnlyWholeLicencesAreTaken(t *testing.T) {
	apache, err := os.ReadFile(filepath.Join("..", "..", "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	const mit = `MIT License. Copyright (c) 2026 Somebody
Permission is hereby granted, free of charge, to any person obtaining a copy of this software, to deal in the Software without restriction,
including the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY.`
	const bsd = `Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following conditions are met:
* Redistributions of source code must retain the notice. * Redistributions in binary form must reproduce the notice.`
	for text, want := range map[string][]string{
		string(apache): {"Apache-2.0"}, mit: {"MIT"}, bsd: {"BSD-2-Clause"},
		bsd + " Neither the name nor the names of its contributors may be used to endorse or promote products.": {"BSD-3-Clause"},
		string(apache) + mit: {"Apache-2.0", "MIT"},
	} {
		if got, err := classify(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%.60q: %v, %v; want %v", text, got, err, want)
		}
	}
	for name, text := range map[string]string{
		"no licence":          "All rights reserved.",
		"an addition by name": mit + ` "Commons Clause" License Condition v1.0: the grant does not include the right to sell.`,
		"a long addition":     mit + strings.Repeat(" and you must send us your first born", 100),
		"another licence":     "GNU AFFERO GENERAL PUBLIC LICENSE Version 3, 19 November 2007",
		"two, one not known":  mit + " or, at your option, under the GNU General Public License",
	} {
		if got, err := classify(text); err == nil {
			t.Errorf("%s is taken for %v", name, got)
		}
	}
}

func TestAModuleWithAForeignLicenceIsRefused(t *testing.T) {
	all := map[string]module{
		"a.org/x": {Path: "a.org/x", Version: "v1.0.0", Licences: []string{"Apache-2.0", "MIT"}},
		"b.org/y": {Path: "b.org/y", Version: "v2.0.0", Licences: []string{"MIT", "MPL-2.0"}},
	}
	if err := refuse([]string{"a.org/x"}, all); err != nil {
		t.Error(err)
	}
	if err := refuse([]string{"a.org/x", "b.org/y"}, all); err == nil || !strings.Contains(err.Error(), "b.org/y v2.0.0") {
		t.Errorf("got %v", err)
	}
	if err := refuse([]string{"c.org/z"}, all); err == nil {
		t.Error("a module that was not looked at is taken")
	}
	dir := t.TempDir()
	if _, err := licencesIn(dir); err == nil {
		t.Error("a folder without a licence is taken")
	}
	if err := os.WriteFile(filepath.Join(dir, "COPYING"), []byte("Ask us first."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := licencesIn(dir); err == nil {
		t.Error("a text of nobody's is taken")
	}
}

// moduleLine is one of `go version -m`.
var moduleLine = regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)\t(h1:\S+)$`)

func TestTheBillListsAllThatTheProgramSaysOfItself(t *testing.T) {
	atRoot(t)
	file := filepath.Join(t.TempDir(), "broker")
	if err := brokertest.Build(file, "-ldflags", stamp(t, "v1.2.3", "0123abcd")); err != nil {
		t.Fatal(err)
	}
	says, err := exec.CommandContext(t.Context(), file, "version").Output()
	if err != nil || !strings.HasPrefix(string(says), "broker v1.2.3, go") || !strings.Contains(string(says), ", commit 0123abcd\n") {
		t.Errorf("broker version says %q, %v", says, err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(t.Context(), []string{"sbom", "-version", "v1.2.3", "-commit", "0123abcd", file}, out); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("two bills of one program differ:\n%s", diff)
	}
	var b bill
	d := json.NewDecoder(&first)
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	said, err := goCommand(t.Context(), "version", "-m", file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range b.Components {
		if c.Name != "std" {
			got[c.Name+" "+c.Version] = c.Properties[0].Value
		}
	}
	want := map[string]string{}
	for _, m := range moduleLine.FindAllStringSubmatch(string(said), -1) {
		want[m[1]+" "+m[2]] = m[3]
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 30 {
		t.Errorf("%d modules (- program, + bill):\n%s", len(want), diff)
	}
	mustHold(t, b)
	if p := b.Metadata.Component; p.Version != "v1.2.3" || !slices.Contains(p.Properties, property{"vcs:commit", "0123abcd"}) {
		t.Errorf("the program is %+v", p)
	}
}

// linked is what make gives to the linker.
var linked = regexp.MustCompile(`-ldflags '([^']*)'`)

// stamp is what `make build` has the linker write into the program.
func stamp(t *testing.T, version, commit string) string {
	t.Helper()
	says, err := exec.CommandContext(t.Context(), "make", "--dry-run", "build", "VERSION="+version, "COMMIT="+commit).Output()
	found := linked.FindStringSubmatch(string(says))
	if err != nil || found == nil {
		t.Fatalf("make build would do %q, %v", says, err)
	}
	return found[1]
}

// mustHold checks what CycloneDX 1.6 asks for: https://cyclonedx.org/docs/1.6/json/.
func mustHold(t *testing.T, b bill) {
	t.Helper()
	if b.BOMFormat != "CycloneDX" || b.SpecVersion != "1.6" || b.Version != 1 || b.Metadata.Component.Type != "application" {
		t.Errorf("the head is %s %s %d", b.BOMFormat, b.SpecVersion, b.Version)
	}
	purls := regexp.MustCompile(`^pkg:golang/[A-Za-z0-9._~/-]+@[A-Za-z0-9.%_-]+$`)
	refs := map[string]bool{}
	for _, c := range append(slices.Clone(b.Components), b.Metadata.Component) {
		if c.Name == "" || c.Version == "" || refs[c.Ref] || !purls.MatchString(c.PURL) || len(c.Licences) == 0 {
			t.Errorf("a component is %+v", c)
		}
		for _, l := range c.Licences {
			if !slices.Contains(accepted, l.License.ID) {
				t.Errorf("%s has the licence %q", c.Name, l.License.ID)
			}
		}
		refs[c.Ref] = true
	}
	if len(b.Dependencies) != len(refs) || len(b.Dependencies[0].DependsOn) != len(b.Components) {
		t.Errorf("%d of %d components have dependencies", len(b.Dependencies), len(refs))
	}
	for _, d := range b.Dependencies {
		for _, ref := range append(slices.Clone(d.DependsOn), d.Ref) {
			if !refs[ref] {
				t.Errorf("no component is called %s", ref)
			}
		}
	}
}

func TestAProgramOfOtherModulesHasNoBill(t *testing.T) {
	atRoot(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"sbom", "go.mod"}, &out); err == nil {
		t.Error("a text has a bill")
	}
	if err := run(t.Context(), []string{"sbom"}, &out); err == nil {
		t.Error("nothing has a bill")
	}
}
