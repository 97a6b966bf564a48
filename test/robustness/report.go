package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// report is what is told of a run.
type report struct {
	Seed     uint64         `json:"seed"`
	Command  string         `json:"command"`
	Took     string         `json:"took"`
	Events   int            `json:"events"`
	Kinds    map[string]int `json:"kinds"`
	Issued   int            `json:"issued"`
	Faults   []strikes      `json:"faults"`
	Injected int            `json:"injected"`
	Crash    string         `json:"crash,omitempty"`
	Passed   bool           `json:"passed"`
	Verdict  judge.Verdict  `json:"verdict"`
}

// strikes counts the injections of one fault.
type strikes struct {
	Name string `json:"name"`
	N    int    `json:"n"`
	// Moot is how many more found nothing to break.
	Moot int `json:"moot"`
}

func newReport(f flags, res result) report {
	r := report{
		Seed: f.seed, Command: f.command(), Took: res.took.Round(time.Second).String(), Events: len(res.final.Events), Issued: len(res.final.Issued),
		Kinds: map[string]int{}, Passed: res.passed(), Verdict: res.verdict,
	}
	if res.crash != nil {
		r.Crash = res.crash.Error()
	}
	for _, e := range res.final.Events {
		r.Kinds[string(e.Kind)]++
	}
	r.Faults = count(res.final.Events)
	for _, s := range r.Faults {
		r.Injected += s.N
	}
	return r
}

// count counts injections by name. One injection may be several events, one for each of its effects.
func count(events []history.Event) []strikes {
	type injection struct {
		name string
		end  time.Duration
	}
	seen, all := map[injection]bool{}, map[string]*strikes{}
	for _, e := range events {
		one := injection{e.Reason, e.Received}
		if e.Kind != history.Fault || e.Actor != fault.Actor || seen[one] {
			continue
		}
		seen[one] = true
		if all[e.Reason] == nil {
			all[e.Reason] = &strikes{Name: e.Reason}
		}
		if fault.Moot(e) {
			all[e.Reason].Moot++
		} else {
			all[e.Reason].N++
		}
	}
	var list []strikes
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, *all[name])
	}
	return list
}

func (r report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	fmt.Fprintf(out, "%s\ntook %s: %d events, %d tokens issued, %d faults injected\n", r.Command, r.Took, r.Events, r.Issued, r.Injected)
	for _, k := range slices.SortedFunc(maps.Keys(r.Kinds), cmp.Compare) {
		fmt.Fprintf(out, "  %-10s %d\n", k, r.Kinds[k])
	}
	for _, s := range r.Faults {
		fmt.Fprintf(out, "  %-32s %d", s.Name, s.N)
		if s.Moot > 0 {
			fmt.Fprintf(out, " (and %d that found nothing to break)", s.Moot)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprint(out, r.Verdict)
	if r.Crash != "" {
		fmt.Fprintf(out, "went wrong by itself:\n%s\n", r.Crash)
	}
	_, err := fmt.Fprintln(out, map[bool]string{true: "PASSED", false: "FAILED"}[r.Passed])
	return errors.Join(err)
}
