package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// plan is how long and how often.
type plan struct {
	// rounds of each attack, each of which measures once without it and once with it, for so long.
	rounds int
	round  time.Duration
	// long is how long the attack lasts at the end in one piece, for what adds up.
	long time.Duration
}

const (
	// settleTime is between the beginning or the end of an attack and the measure that follows.
	settleTime = 700 * time.Millisecond
	// leaveTime is how long the broker may take to let go of everything that belonged to an attack that has ended.
	leaveTime = 30 * time.Second
)

// state is what a broker holds at one moment.
type state struct {
	memory                  int64 // resident, bytes
	descriptors, goroutines int
}

// result is what came of one attack.
type result struct {
	attack
	// One figure a round: without the attack and with it.
	calm, siege figures
	// failures are the well-behaved callers', of all the time.
	failures []string
	// before is what the broker held before the attack, most the highest that was seen of each, and after what it held when the attack
	// was over, which took so long to go down to what it was.
	before, most, after state
	left                time.Duration
	// came is what came of the attack, which went on for so long in all.
	came    results
	lasted  time.Duration
	ordered error // how the broker ended; nil: in good order
}

// figures are of all rounds: of each the quantiles of its latencies and the processor time per second; and all latencies together.
type figures struct {
	p99, cpu []float64 // seconds; processor seconds per second
	all      sample
}

func (f *figures) add(s sample, cpu float64) {
	f.p99 = append(f.p99, quantile(s.open, 0.99).Seconds())
	f.cpu = append(f.cpu, cpu)
	f.all.open = append(f.all.open, s.open...)
	f.all.fresh = append(f.all.fresh, s.fresh...)
}

// ratio is the median over the rounds of how much longer the slowest hundredth took.
func (r result) ratio() float64 {
	ratios := make([]float64, len(r.calm.p99))
	for i := range ratios {
		ratios[i] = r.siege.p99[i] / r.calm.p99[i]
	}
	return median(ratios)
}

// trial is one attack under way.
type trial struct {
	plan
	broker   *broker
	attacker *attacker
	callers  *callers
	result   result
}

// try has one attack made on a broker of its own.
func (s *site) try(ctx context.Context, a attack, p plan) (result, error) {
	b, err := s.start(ctx)
	if err != nil {
		return result{}, err
	}
	t := &trial{plan: p, broker: b, result: result{attack: a}}
	err = t.run(ctx)
	t.result.ordered = b.stop()
	return t.result, err
}

func (t *trial) run(ctx context.Context) (err error) {
	if t.attacker, err = startAttacker(ctx, t.result.attack, t.broker.bad); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.attacker.close()) }()
	if t.callers, err = newCallers(t.broker.good); err != nil {
		return err
	}
	defer t.callers.close()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { t.callers.watch(watching) })
	defer watch.Wait()
	defer stop()

	t.callers.measure(ctx, max(t.round, time.Second)) // connections are opened, stacks grow
	if t.result.before, err = t.look(ctx); err == nil {
		err = t.broker.forgetPeak()
	}
	for i := 0; i < t.rounds && err == nil; i++ {
		err = t.pair(ctx, i%2 == 0)
	}
	if err == nil {
		err = t.hold(ctx)
	}
	if err == nil {
		err = t.clear(ctx)
	}
	t.result.failures = t.callers.failed()
	return err
}

// pair measures without the attack and with it. What the machine does meanwhile, if it grows or shrinks steadily, strikes both alike, since
// the order changes.
func (t *trial) pair(ctx context.Context, calmFirst bool) error {
	if !calmFirst {
		return errors.Join(t.besieged(ctx, t.round, &t.result.siege), t.measure(ctx, t.round, &t.result.calm))
	}
	return errors.Join(t.measure(ctx, t.round, &t.result.calm), t.besieged(ctx, t.round, &t.result.siege))
}

// measure measures for a time.
func (t *trial) measure(ctx context.Context, d time.Duration, to *figures) error {
	pause(ctx, settleTime)
	before, err := t.broker.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	s := t.callers.measure(ctx, d)
	took := time.Since(begin)
	after, err := t.broker.cpu()
	if err != nil {
		return err
	}
	to.add(s, (after-before).Seconds()/took.Seconds())
	return ctx.Err()
}

// besieged is measure under the attack.
func (t *trial) besieged(ctx context.Context, d time.Duration, to *figures) error {
	started := time.Now()
	if _, err := t.attacker.say(begin); err != nil {
		return err
	}
	if err := t.measure(ctx, d, to); err != nil {
		return err
	}
	held, err := t.look(ctx)
	if err != nil {
		return err
	}
	t.note(held)
	t.result.came, err = t.attacker.say(end)
	t.result.lasted += time.Since(started)
	return err
}

// hold lets the attack go on for long in one piece, while the callers go on calling.
func (t *trial) hold(ctx context.Context) error {
	started := time.Now()
	if _, err := t.attacker.say(begin); err != nil {
		return err
	}
	for time.Since(started) < t.long {
		t.callers.measure(ctx, time.Second) // what fails is kept; figures are of the rounds
		held, err := t.look(ctx)
		if err != nil {
			return err
		}
		t.note(held)
	}
	var err error
	t.result.came, err = t.attacker.say(end)
	t.result.lasted += time.Since(started)
	return err
}

// clear waits until the broker holds no more than before, but for what the callers may open themselves, leaveTime at most.
func (t *trial) clear(ctx context.Context) error {
	const spare = 8
	begin := time.Now()
	for {
		var err error
		if t.result.after, err = t.look(ctx); err != nil {
			return err
		}
		t.result.left = time.Since(begin)
		if t.result.after.descriptors <= t.result.before.descriptors+spare && t.result.after.goroutines <= t.result.before.goroutines+5*spare ||
			t.result.left > leaveTime {
			return nil
		}
		if !pause(ctx, 250*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// note keeps the highest that was seen of each.
func (t *trial) note(s state) {
	m := &t.result.most
	m.memory, m.descriptors, m.goroutines = max(m.memory, s.memory), max(m.descriptors, s.descriptors), max(m.goroutines, s.goroutines)
}

// look returns what the broker holds. The memory is the peak once the peak has been forgotten.
func (t *trial) look(ctx context.Context) (s state, err error) {
	if _, s.memory, err = t.broker.memory(); err != nil {
		return s, err
	}
	if s.descriptors, err = t.broker.descriptors(); err != nil {
		return s, err
	}
	s.goroutines, err = t.callers.goroutines(ctx)
	return s, err
}

// goroutines asks the broker for its metrics, and returns how many goroutines there are.
func (c *callers) goroutines(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.target.Pages+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer resp.Body.Close()
	return gauge(resp.Body, "go_goroutines")
}

// gauge finds a metric without labels.
func gauge(page io.Reader, name string) (int, error) {
	for lines := bufio.NewScanner(page); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			n, err := strconv.ParseFloat(value, 64)
			return int(n), err
		}
	}
	return 0, fmt.Errorf("reading metrics: there is no %s", name)
}
