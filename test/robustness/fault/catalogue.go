package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Catalogue returns every fault that fits in a run, in an order that is always the same. Some take a site with network namespaces.
func Catalogue(times Times, duration time.Duration, failpointNames []string, namespaces bool) []Fault {
	all := slices.Concat(processes(), links(), members(), upstream(), failpoints(failpointNames), deposed(failpointNames))
	if namespaces {
		all = append(all, vanishings()...)
	}
	return slices.DeleteFunc(all, func(f Fault) bool { return f.Least != nil && f.Least(times) > duration })
}

// ErrUnknown is the cause where a fault is asked for that does not exist.
var ErrUnknown = errors.New("no such fault")

// Select returns the faults of the given names. A name that ends with a star stands for all that begin with the rest of it. No names
// select all.
func Select(from []Fault, names []string) ([]Fault, error) {
	if len(names) == 0 {
		return from, nil
	}
	var chosen []Fault
	for _, name := range names {
		prefix, many := strings.CutSuffix(name, "*")
		before := len(chosen)
		for _, f := range from {
			if f.Name == name || many && strings.HasPrefix(f.Name, prefix) {
				chosen = append(chosen, f)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
		}
	}
	return chosen, nil
}
