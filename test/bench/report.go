package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/template"
)

// spread sums up the figures of all rounds.
type spread struct {
	median      float64
	low, high   float64 // the quartiles
	least, most float64 // bounds of the true median, with at least 95% confidence
}

// spreadOf sorts the figures and sums them up. The bounds of the median are order statistics: they assume nothing about how noise is
// distributed, but that rounds do not influence each other.
func spreadOf(figures []float64) spread {
	slices.Sort(figures)
	n := len(figures)
	at := func(q float64) float64 {
		i, rest := math.Modf(q * float64(n-1))
		if int(i)+1 >= n {
			return figures[n-1]
		}
		return figures[int(i)]*(1-rest) + figures[int(i)+1]*rest
	}
	k := int(math.Floor((float64(n) - 1.96*math.Sqrt(float64(n))) / 2))
	k = max(k-1, 0)
	return spread{median: at(0.5), low: at(0.25), high: at(0.75), least: figures[k], most: figures[n-1-k]}
}

var page = template.Must(template.New("").Funcs(template.FuncMap{
	"spread": func(format string, s spread) string {
		return fmt.Sprintf(format+" ("+format+" to "+format+")", s.median, s.low, s.high)
	},
	"bounds": func(s spread) string { return fmt.Sprintf("%.3f to %.3f", s.least, s.most) },
	"baseline": func(role string) string {
		return map[string]string{roleEmpty: "same options", rolePlain: "gRPC's defaults"}[role]
	},
}).Parse(`# Benchmarks

What GetToken costs, with everything that production has on (metrics, health, validation, limits, keep-alive), beside an empty grpc-go
handler that returns the same bytes from a message that was built beforehand. Each server is a process of its own, reached over
loopback TCP. In each of {{.Rounds}} rounds per load the servers take turns of {{.Requests}} requests each, to and fro, and a round gives one ratio.

    go run ./test/bench -rounds {{.Rounds}} -requests {{.Requests}} -o docs/BENCHMARKS.md

The empty handler is measured on a server with the broker's own options, which shows what the broker's code costs, and on gRPC's defaults.
Most of the difference between the two is that the broker serves calls on goroutines whose stacks have grown already.

The command fails if GetToken takes more than {{printf "%.2f" .MostCPU}} times the processor time of either, or more than {{.MostAllocs}} allocations more.

| connections × callers on each | empty handler on | server CPU per request, ratio | 95% bounds of the median | requests per second, ratio | allocations per request, difference |
|---|---|---|---|---|---|
{{range .Results}}| {{.Load}} | {{baseline .Baseline}} | {{spread "%.3f" .CPU}} | {{bounds .CPU}} | {{spread "%.3f" .Rate}} | {{spread "%+.2f" .Allocs}} |
{{end}}
Figures are medians, with the quartiles in brackets. For scale: on the machine that wrote this ({{.GOOS}}/{{.GOARCH}}, {{.CPUs}} processors, {{.Go}})
a request to the empty handler took the server{{range $i, $r := .Results}}{{if $i}},{{end}} {{printf "%.0f" $r.Base}} µs{{end}} in the order of the table, nearly all of it in
the kernel and in gRPC. A busy machine moves such figures by tens of percent from minute to minute, and the ratios much less.

The handler alone, as gRPC calls it, is a Go benchmark:

    go test -run '^$' -bench GetToken ./internal/server
`))

// row is one result as the page wants it.
type row struct {
	Load, Baseline    string
	CPU, Rate, Allocs spread
	Base              float64
}

func report(w io.Writer, results []result, rounds, requests int) error {
	rows := make([]row, 0, len(results))
	for _, r := range results {
		rows = append(rows, row{Load: r.load.String(), Baseline: r.baseline, CPU: r.cpu, Rate: r.rate, Allocs: r.allocs, Base: r.base.median})
	}
	return page.Execute(w, map[string]any{
		"Results": rows, "Rounds": rounds, "Requests": requests, "MostCPU": mostCPU, "MostAllocs": mostAllocs,
		"GOOS": runtime.GOOS, "GOARCH": runtime.GOARCH, "CPUs": runtime.NumCPU(), "Go": runtime.Version(),
	})
}
