package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuantilesAreOfTheSamplesThatThereAre(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{
		{nil, 0.99, 0},
		{[]time.Duration{7}, 0.5, 7},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{[]time.Duration{1, 2}, 0.99, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.991, 100},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		if got := quantile(c.of, c.q); got != c.want {
			t.Errorf("quantile(%d samples, %v) = %d, want %d", len(c.of), c.q, got, c.want)
		}
	}
}

func TestTheRatioIsTheMedianOfTheRounds(t *testing.T) {
	for _, c := range []struct {
		calm, siege []float64
		want        float64
	}{
		{[]float64{1}, []float64{3}, 3},
		{[]float64{1, 1, 1}, []float64{9, 2, 1}, 2},
		{[]float64{1, 10, 1, 10}, []float64{1, 20, 4, 40}, 3}, // each round by itself: 1, 2, 4, 4
	} {
		r := result{calm: figures{p99: c.calm}, siege: figures{p99: c.siege}}
		if got := r.ratio(); got != c.want {
			t.Errorf("the ratio of %v to %v is %v, want %v", c.siege, c.calm, got, c.want)
		}
	}
	if got := median(nil); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestAnAttackIsWithstoodOnlyIfNothingIsWrong(t *testing.T) {
	good := func() result {
		return result{calm: figures{p99: []float64{1}}, siege: figures{p99: []float64{2}}, left: leaveTime}
	}
	if r := good(); r.fell() {
		t.Error("a result within all limits counts as a fall")
	}
	for what, spoil := range map[string]func(*result){
		"a failed call":       func(r *result) { r.failures = []string{"x"} },
		"a ratio above two":   func(r *result) { r.siege.p99[0] = 2.1 },
		"something is held":   func(r *result) { r.left = leaveTime + 1 },
		"a disorderly ending": func(r *result) { r.ordered = os.ErrInvalid },
	} {
		r := good()
		if spoil(&r); !r.fell() {
			t.Errorf("%s counts as withstood", what)
		}
	}
}

func TestProcessorTimeIsReadBehindAnyName(t *testing.T) {
	dir := t.TempDir()
	// 14 and 15 are utime and stime, in hundredths of a second.
	const stat = "4242 (a) 1 2 (b) S 1 2 3 4 5 6 7 8 9 10 250 75 13 14 15 16 17\n"
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (proc{dir}).cpu(); err != nil || got != 3250*time.Millisecond {
		t.Errorf("cpu() = %v, %v, want 3.25s", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte("4242 (a) S 1 2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (proc{dir}).cpu(); err == nil {
		t.Errorf("cpu() of half a line = %v, want an error", got)
	}
}

func TestMemoryIsReadInBytes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "status"), []byte("Name:\tVmRSS: 1 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now, peak, err := proc{dir}.memory()
	if err != nil || now != 1<<20 || peak != 2<<20 {
		t.Errorf("memory() = %d, %d, %v, want 1 and 2 MB", now, peak, err)
	}
}

// TestTheKernelTellsOfThisProcess holds the reader against a real /proc.
func TestTheKernelTellsOfThisProcess(t *testing.T) {
	p := procOf(os.Getpid())
	before, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now <= before; { // ends, because this works
		if now, err = p.cpu(); err != nil {
			t.Fatal(err)
		}
	}

	const much = 64 << 20
	_, low, err := p.memory()
	if err != nil {
		t.Fatal(err)
	}
	ballast := make([]byte, much+low)
	for i := 0; i < len(ballast); i += os.Getpagesize() {
		ballast[i] = 1
	}
	now, peak, err := p.memory()
	if err != nil || peak < low+much || now > peak {
		t.Errorf("with %d bytes more than the peak of %d, memory() = %d, %d, %v", much, low, now, peak, err)
	}
	runtime.KeepAlive(ballast)

	first, err := p.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if more, err := p.descriptors(); err != nil || more != first+1 {
		t.Errorf("with one more file descriptors() = %d, %v, want %d", more, err, first+1)
	}
}

func TestAGaugeIsFoundByItsWholeName(t *testing.T) {
	page := "# HELP go_goroutines x\ngo_goroutines_more 5\ngo_goroutines 1.2e+03\n"
	if n, err := gauge(strings.NewReader(page), "go_goroutines"); err != nil || n != 1200 {
		t.Errorf("gauge() = %d, %v, want 1200", n, err)
	}
	if n, err := gauge(strings.NewReader(page), "go_threads"); err == nil {
		t.Errorf("gauge() of what is not there = %d, want an error", n)
	}
}

func TestEveryAttackHasItsOwnNameAndSaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range attacks() {
		if a.name == "" || a.does == "" || a.stops == "" || a.run == nil || seen[a.name] {
			t.Errorf("attack %q is not complete, or there twice", a.name)
		}
		seen[a.name] = true
	}
	if got := chosen("drip-http,frames-ping"); len(got) != 3 {
		t.Errorf("%d attacks are chosen, want the two that drip HTTP/1 and one that pings", len(got))
	}
}
