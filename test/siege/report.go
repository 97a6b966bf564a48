package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"
)

// fell reports whether the broker did not withstand an attack.
func (r result) fell() bool {
	return len(r.failures) > 0 || r.ratio() > mostRatio || r.left > leaveTime || r.ordered != nil
}

// line is a result in short, for who watches.
func (r result) line() string {
	return fmt.Sprintf("%-20s p99 %s -> %s (%.2f)  new connections %s -> %s  cpu %.2f -> %.2f  memory %s -> %s  fds %d -> %d  goroutines %d -> %d  gone after %v  failed %d  %s",
		r.name, milliseconds(quantile(r.calm.all.open, 0.99)), milliseconds(quantile(r.siege.all.open, 0.99)), r.ratio(),
		milliseconds(quantile(r.calm.all.fresh, 0.9)), milliseconds(quantile(r.siege.all.fresh, 0.9)),
		median(r.calm.cpu), median(r.siege.cpu), megabytes(r.before.memory), megabytes(r.most.memory),
		r.before.descriptors, r.most.descriptors, r.before.goroutines, r.most.goroutines, r.left.Round(time.Second/10), len(r.failures), r.became())
}

// became says what came of the attack, the most frequent first.
func (r result) became() string {
	var total int64
	names := make([]string, 0, len(r.came.Came))
	for name, n := range r.came.Came {
		names = append(names, name)
		total += n
	}
	slices.SortFunc(names, func(a, b string) int { return int(r.came.Came[b] - r.came.Came[a]) })
	parts := []string{fmt.Sprintf("%.0f a second", float64(total)/max(r.lasted.Seconds(), 1))}
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.came.Came[name]))
	}
	if r.came.Longest > 0 {
		parts = append(parts, fmt.Sprintf("the longest that was ended lasted %v", r.came.Longest.Round(time.Second/10)))
	}
	return strings.Join(parts, "; ")
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func megabytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

// page is the whole document.
func page(results []result, p plan) string {
	var text strings.Builder
	err := document.Execute(&text, map[string]any{
		"Results": results, "Rounds": p.rounds, "Round": p.round, "Long": p.long, "Most": mostRatio, "Rate": callsPerSecond, "Fresh": freshEvery,
		"Watchers": watchers, "RealTime": realTime(), "Leave": leaveTime, "Connections": 2 * goodConnections,
		"GOOS": runtime.GOOS, "GOARCH": runtime.GOARCH, "CPUs": runtime.NumCPU(), "Go": runtime.Version(),
	})
	if err != nil {
		panic(err) // the template and what it is given are ours
	}
	return text.String()
}

var document = template.Must(template.New("").Funcs(template.FuncMap{
	"p50":    func(f figures) string { return milliseconds(quantile(f.all.open, 0.5)) },
	"p99":    func(f figures) string { return milliseconds(quantile(f.all.open, 0.99)) },
	"fresh":  func(f figures) string { return milliseconds(quantile(f.all.fresh, 0.9)) },
	"cpu":    func(f figures) string { return fmt.Sprintf("%.2f", median(f.cpu)) },
	"mb":     megabytes,
	"calm":   func(r result) figures { return r.calm },
	"siege":  func(r result) figures { return r.siege },
	"failed": func(r result) int { return len(r.failures) },
	"ratio":  func(r result) string { return fmt.Sprintf("%.2f", r.ratio()) },
	"left": func(r result) string {
		switch {
		case r.left > leaveTime:
			return "not within " + leaveTime.String()
		case r.left < time.Second:
			return "at once"
		}
		return r.left.Round(time.Second).String()
	},
	"became": result.became,
	"cell": func(r result) map[string]any {
		return map[string]any{
			"Name": r.name, "Does": r.does, "Stops": r.stops,
			"Memory":      megabytes(r.before.memory) + " → " + megabytes(r.most.memory),
			"Descriptors": fmt.Sprintf("%d → %d", r.before.descriptors, r.most.descriptors),
			"Goroutines":  fmt.Sprintf("%d → %d", r.before.goroutines, r.most.goroutines),
		}
	},
}).Parse(`# Under siege

What callers notice when somebody else attacks a broker, and what it costs the broker. This page is written by a program:

    make siege ARGS='-rounds {{.Rounds}} -round {{.Round}} -long {{.Long}} -o docs/SIEGE.md'

The broker is built from this tree, runs in a process of its own for each attack, on a real etcd and a simulated WeChat, and has its **default limits**, TLS
with client certificates, a policy, JSON Web Tokens, and the audit log in a file. Everything is on the loopback interface of one machine ({{.GOOS}}/{{.GOARCH}}, {{.CPUs}} processors, {{.Go}}).

- **Others** are well-behaved callers of another identity: {{.Rate}} calls a second at fixed times, whether or not answers come, by gRPC and as JSON in turn over {{.Connections}}
  connections; one of {{.Fresh}} of them on a connection of its own, handshake and all; and {{.Watchers}} watches that are read. Whatever fails, or takes 5 s, counts as failed.
- **Rounds.** Without the attack and with it by turns, {{.Rounds}} rounds of {{.Round}} each, so that a noisy machine strikes both alike. The ratio is the median of the rounds' ratios. Then
  the attack goes on for {{.Long}} in one piece, for what adds up; failures, memory, descriptors and goroutines are of all that time.
- **The attacker** is a process with the lowest priority. {{if .RealTime}}The broker and the others have the kernel's real-time class (SCHED_RR), the attacker has not. {{end}}It
  shares the two processors with those whom it attacks, which it would not in earnest: with the same priority this would be a measure of the kernel's scheduler. What it got done is in the last table.
  It comes from another address of the loopback network than the others.

The program exits with 1 if a call of the others failed, if the slowest hundredth of their calls took more than {{.Most}} times as long as without the attack, if the broker has not let go of
everything within {{.Leave}} of the attack's end, or does not shut down in good order afterwards.

## What others notice, and what it costs

Latencies are those of others' calls, in milliseconds, without → with the attack; those on new connections are the slowest tenth. CPU is the broker's, in seconds per second. Memory is the broker's
peak resident set in MB, before the attack → under it; so are descriptors and goroutines.

| attack | p50 | p99 | ratio of p99 | new connections, p90 | failed | CPU | memory | descriptors | goroutines | gone |
|---|---|---|---|---|---|---|---|---|---|---|
{{range .Results}}{{$c := cell .}}{{$before := calm .}}{{$with := siege .}}| {{$c.Name}} | {{p50 $before}} → {{p50 $with}} | {{p99 $before}} → {{p99 $with}} | {{ratio .}} | {{fresh $before}} → {{fresh $with}} | {{failed .}} | {{cpu $before}} → {{cpu $with}} | {{$c.Memory}} | {{$c.Descriptors}} | {{$c.Goroutines}} | {{left .}} |
{{end}}
"Gone" is when the broker held no more than before.

## The attacks, and what stops them

| attack | what it does | what stops it | what became of it |
|---|---|---|---|
{{range .Results}}{{$c := cell .}}| {{$c.Name}} | {{$c.Does}} | {{$c.Stops}} | {{became .}} |
{{end}}
"OK", other words like it and numbers are answers: codes of gRPC, statuses of HTTP, WeChat's errcode. "Closed by broker" were open before; "refused" are connections that were closed at once, and streams that were ended with an error.

## What is not stopped

- Whoever has many addresses and needs no certificate can take all connections that there are (limits.connections): nobody else connects then, while those who are connected are not disturbed. With
  client_certificates: required a connection without a certificate ends with its handshake. A firewall, or a network that strangers do not reach, is the remedy.
- A handshake costs the broker a signature before it knows anybody. Ten thousand a second are a matter for a firewall.
- More bandwidth than the network has.
`))

// realTime reports whether this process runs in one of the kernel's real-time classes.
func realTime() bool {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return false
	}
	const policy = 41 - 3
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return len(fields) > policy && (fields[policy] == "1" || fields[policy] == "2")
}
