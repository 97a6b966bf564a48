package main

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"text/template"
	"time"
)

var page = template.Must(template.New("").Funcs(template.FuncMap{
	"ns": func(s spread) string {
		return fmt.Sprintf("%s (%s to %s)", digits(s.median), digits(s.low), digits(s.high))
	},
	"allocs": func(n float64) string { return fmt.Sprintf("%.0f", math.Abs(math.Round(n))) },
}).Parse(`## Reading a held token in the SDK

What a program pays to have a token at hand: through ` + "`client/tokenbroker`" + `, which checks the token's remaining life at each read; from an
` + "`oauth2.ReuseTokenSource`" + `, which does, too, and takes a lock for it; and from Redis, where programs put a token that they share. One process reads from
all of them in turns of {{.Turn}}, {{.Rounds}} rounds. The Redis server is {{.Server}}.

    go run ./test/bench/sdk -rounds {{.Rounds}} -o docs/BENCHMARKS.md

The command fails if a read through the SDK takes a caller that is alone more than {{.Most}} of processor time, or allocates.

| | callers | processor time per read, ns | time until the caller has it, ns | allocations |
|---|---|---|---|---|
{{range .Results}}| {{.Name}} | {{.Callers}} | {{ns .CPU}} | {{ns .Wall}} | {{allocs .Allocs}} |
{{end}}
Figures are medians, with the quartiles in brackets, on {{.GOOS}}/{{.GOARCH}}, {{.CPUs}} processors, {{.Go}}. Processor time is that of the measuring process. Where it is
the same with one caller and with one for each processor, callers do not stand in each other's way; a busy machine lengthens the other time, and this one
hardly. A look at the monotonic clock is most of what the SDK takes.
`))

func report(results []result, server string, rounds int, turn time.Duration) (string, error) {
	var text strings.Builder
	err := page.Execute(&text, map[string]any{
		"Results": results, "Server": server, "Rounds": rounds, "Turn": turn, "Most": most,
		"GOOS": runtime.GOOS, "GOARCH": runtime.GOARCH, "CPUs": runtime.NumCPU(), "Go": runtime.Version(),
	})
	return text.String(), err
}

// digits leaves out what is only noise.
func digits(ns float64) string {
	if ns < 100 {
		return fmt.Sprintf("%.1f", ns)
	}
	return fmt.Sprintf("%.0f", ns)
}
