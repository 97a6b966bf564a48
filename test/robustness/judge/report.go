package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is a report for a terminal.
func (v Verdict) String() string {
	var b strings.Builder
	for _, k := range v.Checks {
		result := "passed"
		switch {
		case k.Violated > 0:
			result = "FAILED"
		case k.Judged == 0:
			result = "NOTHING TO JUDGE"
		}
		fmt.Fprintf(&b, "%-3s %s: %d judged, %d violated  (%s)\n", k.Name, result, k.Judged, k.Violated, k.Promise)
		for _, f := range k.Violations {
			fmt.Fprintf(&b, "      %s\n", f.What)
		}
		if more := k.Violated - len(k.Violations); more > 0 {
			fmt.Fprintf(&b, "      and %d more\n", more)
		}
		for _, x := range k.Excluded {
			fmt.Fprintf(&b, "    - %d excluded: %s\n", x.N, x.Cause)
		}
	}
	b.WriteString(v.Figures.String())
	return b.String()
}

// String is a report for a terminal.
func (f Figures) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "answers: %s\n", counts(f.Answers))
	if f.Answers["get Unavailable"] > 0 {
		b.WriteString("  (get Unavailable: the broker was down, had no living token, or none with the min_ttl; A1 judged each)\n")
	}
	fmt.Fprintf(&b, "effects of faults: %s  (a fault has several at times, or came to nothing)\n", counts(f.Faults))
	for _, name := range slices.Sorted(maps.Keys(f.Refreshes)) {
		n := f.Refreshes[name]
		fmt.Fprintf(&b, "%s: %d issued, %d to others; attempts: %s; writes: %s\n", name, n.Issued, n.Foreign, counts(n.Attempts), counts(n.Steps))
	}
	fmt.Fprintf(&b, "failovers: %s; with etcd in trouble: %s; hand-overs: %d\n", f.Failovers, f.StoreFailovers, f.HandOvers)
	if len(f.Unserved) > 0 {
		b.WriteString("longest times at a replica that ran: without a token calls failed, without a promise they brought a suspect one at best\n")
	}
	for _, id := range slices.Sorted(maps.Keys(f.Unserved)) {
		fmt.Fprintf(&b, "  %s: without a token %s, without a promise %s\n", id, rounded(f.Unserved[id]), rounded(f.Unpromised[id]))
	}
	if f.Recovery >= 0 {
		fmt.Fprintf(&b, "recovered %s after the last fault\n", rounded(f.Recovery))
	}
	return b.String()
}

// String is a report for a terminal.
func (d Distribution) String() string {
	if d.N == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (median %s, p99 %s, max %s)", d.N, rounded(d.Median), rounded(d.P99), rounded(d.Max))
}

func counts(all map[string]int) string {
	if len(all) == 0 {
		return "none"
	}
	var words []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		words = append(words, fmt.Sprintf("%s %d", what, all[what]))
	}
	return strings.Join(words, ", ")
}
