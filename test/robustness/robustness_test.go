package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

// handful are the faults of the short form: one of each part, and those that cost others most.
const handful = "kill-leader,pause-leader,cut-off,etcd-restart,etcd-leader-moves,wechat-answer-lost,wechat-lost-then-refused,crash-at-refreshBeforeCommit"

// The short form of a run, for `make test`: always the same choices, so that it tells of the change at hand. `make robustness` is the long
// one, and makes others each time.
func TestPromisesAreKeptThroughAHandfulOfFaults(t *testing.T) {
	t.Parallel()
	f := flags{plan: plan{seed: 1, duration: 15 * time.Second, calm: 4 * time.Second}, faults: handful}
	place, err := newHome("")
	if err != nil {
		t.Fatal(err)
	}
	p, err := compile(t.Context(), place, build.Mutant{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := execute(t.Context(), order{
		plan: f.plan, faults: names(f.faults), operator: true, dir: place.site, told: t.Output(), programs: p,
	})
	if err != nil {
		t.Fatalf("the run is void: %v\nwhat there is of it is in %s", err, place.dir)
	}
	if !res.passed() {
		if err := place.save(res); err != nil {
			t.Error(err)
		}
		var told strings.Builder
		if err := newReport(f, res).print(&told, false); err != nil {
			t.Error(err)
		}
		t.Fatalf("%s\nagain: %s\nthe history, the judgement and the logs are in %s", told.String(), f.command(), place.dir)
	}
	if n := newReport(f, res).Injected; n == 0 {
		t.Errorf("no fault was injected in %v", f.duration)
	}
	if err := place.leave(t.Output()); err != nil {
		t.Error(err)
	}
}
