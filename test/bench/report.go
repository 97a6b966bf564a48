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

// text is the median and the quartiles.
func (s spread) text(format string) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", s.median, s.low, s.high)
}

var page = template.Must(template.New("").Funcs(template.FuncMap{
	"text":   func(format string, s spread) string { return s.text(format) },
	"bounds": func(s spread) string { return fmt.Sprintf("%.3f to %.3f", s.least, s.most) },
}).Parse(`# Benchmarks

What GetToken costs, with everything that production has on (metrics, health, validation, limits, keep-alive), beside an empty grpc-go
handler that returns the same bytes from a message that was built beforehand, on a server with no options. Each server is a process
of its own, reached over loopback TCP. In each of {{.Rounds}} rounds per load they take turns, empty, broker, broker, empty, of {{.Requests}} requests each;
a round gives one ratio.

    go run ./test/bench -rounds {{.Rounds}} -requests {{.Requests}} -o docs/BENCHMARKS.md

The command fails if the median of GetToken's processor time is more than {{.MostCPU}} times the empty handler's, or if it allocates more than
{{.MostAllocs}} times oftener per request.

| load | server CPU per request, ratio | 95% bounds of the median | requests per second, ratio | allocations per request, difference |
|---|---|---|---|---|
{{range .Results}}| {{.Load}} | {{text "%.3f" .CPU}} | {{bounds .CPU}} | {{text "%.3f" .Rate}} | {{text "%+.2f" .Allocs}} |
{{end}}
Figures are medians, with the quartiles in brackets. For scale: on the machine that wrote this ({{.GOOS}}/{{.GOARCH}}, {{.CPUs}} processors, {{.Go}}) the
empty handler took {{range $i, $r := .Results}}{{if $i}} and {{end}}{{printf "%.0f µs with %.0f allocations" $r.EmptyCPU $r.EmptyAllocs}}{{end}} per request, most of it in the
kernel and in gRPC. A shared machine moves such absolute figures by tens of percent from minute to minute, and the ratios hardly.

The handler alone, as gRPC calls it, is a Go benchmark:

    go test -run '^$' -bench GetToken ./internal/server
`))

// row is one result as the page wants it.
type row struct {
	Load                  string
	CPU, Rate, Allocs     spread
	EmptyCPU, EmptyAllocs float64
}

func report(w io.Writer, results []result, rounds, requests int) error {
	rows := make([]row, 0, len(results))
	for _, r := range results {
		rows = append(rows, row{
			Load: r.load.String(), CPU: r.cpu, Rate: r.rate, Allocs: r.allocs,
			EmptyCPU: r.emptyCPU.median, EmptyAllocs: r.emptyAllocs.median,
		})
	}
	return page.Execute(w, map[string]any{
		"Results": rows, "Rounds": rounds, "Requests": requests, "MostCPU": mostCPU, "MostAllocs": mostAllocs,
		"GOOS": runtime.GOOS, "GOARCH": runtime.GOARCH, "CPUs": runtime.NumCPU(), "Go": runtime.Version(),
	})
}
