package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// row is one of the table: | `module` | what for | licence |
var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\|$")

// compare returns an error that lists where the page's table and go.mod differ.
func compare(page string, direct []string, all map[string]module) error {
	var errs []error
	var listed []string
	for _, found := range row.FindAllStringSubmatch(page, -1) {
		path, reason, licences := found[1], strings.TrimSpace(found[2]), strings.TrimSpace(found[3])
		switch {
		case slices.Contains(listed, path):
			errs = append(errs, fmt.Errorf("%s is listed twice", path))
		case !slices.Contains(direct, path):
			errs = append(errs, fmt.Errorf("%s is listed, and go.mod does not ask for it", path))
		case reason == "":
			errs = append(errs, fmt.Errorf("%s is listed without a reason", path))
		case licences != strings.Join(all[path].Licences, ", "):
			errs = append(errs, fmt.Errorf("%s is listed under %q, and its licence is %s", path, licences, strings.Join(all[path].Licences, ", ")))
		}
		listed = append(listed, path)
	}
	for _, path := range direct {
		if !slices.Contains(listed, path) {
			errs = append(errs, fmt.Errorf("%s is asked for by go.mod, and not listed: say what for, or do without it", path))
		}
	}
	return errors.Join(errs...)
}
