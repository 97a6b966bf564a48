package refresh_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// judge is the upstream's own truth: which token lived when. It also keeps what callers were promised.
type judge struct {
	life, overlap time.Duration

	mu       sync.Mutex
	serial   int
	current  map[string]string    // by name
	previous map[string]string    // the token before, while it may live
	dies     map[string]time.Time // by value
	promised map[string]promise   // by value: the longest
	excused  map[string]bool
	rotating map[string]bool
	issues   int
}

type promise struct {
	until time.Time
	by    string
	at    time.Time
	ttl   time.Duration
}

func newJudge(life, overlap time.Duration, rotating map[string]bool) *judge {
	return &judge{
		life: life, overlap: overlap, rotating: rotating, excused: map[string]bool{},
		current: map[string]string{}, previous: map[string]string{}, dies: map[string]time.Time{}, promised: map[string]promise{},
	}
}

func (j *judge) rotates(name string) bool { return j.rotating[name] }

// issue does what WeChat does with a request for a token.
func (j *judge) issue(name string, force bool) (string, time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now, old := time.Now(), j.current[name]
	if !j.rotating[name] && !force && old != "" {
		if left := j.dies[old].Sub(now); left > j.overlap {
			return old, left.Truncate(time.Second)
		}
	}
	j.serial++
	j.issues++
	value := fmt.Sprintf("%s-token-%d", name, j.serial)
	if older := j.previous[name]; older != "" && j.dies[older].After(now) {
		j.dies[older] = now // only the two newest live
	}
	if old != "" {
		end := now.Add(j.overlap)
		if force {
			end = now
		}
		if j.dies[old].After(end) {
			j.dies[old] = end
		}
	}
	j.previous[name], j.current[name] = old, value
	j.dies[value] = now.Add(j.life)
	return value, j.life
}

// kill ends the current token before its time, as a foreign system does.
func (j *judge) kill(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dies[j.current[name]] = time.Now()
}

func (j *judge) aliveAt(value string, at time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return at.Before(j.dies[value])
}

// promise keeps what a caller was told.
func (j *judge) promise(value, by string, ttl time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if p := (promise{until: now.Add(ttl), by: by, at: now, ttl: ttl}); p.until.After(j.promised[value].until) {
		j.promised[value] = p
	}
}

// verdict fails the test for every promise that was broken, or will be (S1).
func (j *judge) verdict(t testing.TB) {
	t.Helper()
	for _, broken := range j.broken() {
		t.Errorf("S1: %s", broken)
	}
}

// excuse forgives promises on a value that rest on a non-guarantee.
func (j *judge) excuse(value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.excused[value] = true
}

func (j *judge) broken() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for value, p := range j.promised {
		if j.excused[value] {
			continue
		}
		if dies := j.dies[value]; dies.Before(p.until) {
			out = append(out, fmt.Sprintf("%s promised %s at %s for %v, but it died %v before the end",
				p.by, value, p.at.Format(time.DateTime), p.ttl, p.until.Sub(dies)))
		}
	}
	return out
}
