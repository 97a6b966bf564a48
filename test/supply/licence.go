package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// accepted are the licences that may be compiled into the broker: they ask for their text to be passed on, and nothing else.
var accepted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// licence says how the text of one is told: it has each of these phrases. size is its length without blanks, about.
type licence struct {
	phrases []string
	size    int
}

var known = map[string]licence{
	"Apache-2.0": {[]string{
		"apache license version 2 0", "grants to you a perpetual worldwide non exclusive", "you must give any other recipients of the work", "in no event and under no legal theory",
	}, 10300},
	"MIT": {[]string{
		"permission is hereby granted free of charge to any person obtaining a copy", "use copy modify merge publish distribute sublicense and or sell",
		"provided as is without warranty",
	}, 1150},
	"ISC": {[]string{"permission to use copy modify and or distribute this software for any purpose with or without fee is hereby granted"}, 800},
	"BSD-2-Clause": {[]string{
		"redistribution and use in source and binary forms with or without modification are permitted", "redistributions of source code must retain",
		"redistributions in binary form must reproduce",
	}, 1300},
	"BSD-3-Clause": {[]string{"redistribution and use in source and binary forms", "names of its contributors may be used to endorse or promote products"}, 1550},
	"MPL-2.0":      {[]string{"mozilla public license version 2 0", "covered software is provided under this license"}, 15600},
}

// spare is how much more than the texts of its licences a file may hold: names, years and headings, but no further terms.
const spare = 2000

// conditions are words of licences and additions that ask for more.
var conditions = []string{"commons clause", "affero", "gnu general public", "gnu lesser", "server side public", "business source", "non commercial", "noncommercial"}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)`)
	noWord      = regexp.MustCompile(`[^a-z0-9]+`)
)

// licencesIn reads every licence file in a module's folder.
func licencesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for licences: %w", err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a licence: %w", err)
		}
		ids, err := classify(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		for _, id := range ids {
			found[id] = true
		}
	}
	if len(found) == 0 {
		return nil, errors.New("it has no licence")
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// classify tells which licences a text consists of. It must be those and nothing else.
func classify(text string) ([]string, error) {
	words := strings.TrimSpace(noWord.ReplaceAllString(strings.ToLower(text), " "))
	var ids []string
	size := 0
	for id, l := range known {
		if !slices.ContainsFunc(l.phrases, func(phrase string) bool { return !strings.Contains(words, phrase) }) {
			ids = append(ids, id)
			size += l.size
		}
	}
	if slices.Contains(ids, "BSD-3-Clause") { // which contains the other
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == "BSD-2-Clause" })
	}
	switch {
	case len(ids) == 0:
		return nil, errors.New("the text is none of a licence that is known here")
	case len(words) > size+spare:
		return nil, fmt.Errorf("it holds more than %s", strings.Join(ids, " and "))
	}
	for _, c := range conditions {
		if strings.Contains(words, c) && !slices.Contains(ids, "MPL-2.0") { // which names others
			return nil, fmt.Errorf("it speaks of %q", c)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// refuse returns an error that lists the modules with a licence that is not accepted.
func refuse(compiled []string, all map[string]module) error {
	var errs []error
	for _, path := range compiled {
		m := all[path]
		for _, id := range m.Licences {
			if !slices.Contains(accepted, id) {
				errs = append(errs, fmt.Errorf("%s %s is compiled into the broker, and its licence is %s; we take %s",
					m.Path, m.Version, id, strings.Join(accepted, ", ")))
			}
		}
		if len(m.Licences) == 0 {
			errs = append(errs, fmt.Errorf("%s is compiled into the broker, and its licence is not known", path))
		}
	}
	return errors.Join(errs...)
}
