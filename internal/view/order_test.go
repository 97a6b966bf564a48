package view_test

import (
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// Section "Order of loads" of the package documentation. A writer leads the view through one fetch after the other, and a proof always
// comes while the fetch is pending: nobody may put that proof together with the clean record from before the fetch.
//
// Time stands still but for one step before that proof, so that the proof before version v's successor was begun is at (v-1) steps.
func TestARecordIsNeverReadWithAProofFromAfterItsSuccessorBegan(t *testing.T) {
	const step = time.Second
	hands := newClocks()
	c := clock.FromSource(hands.read)
	r := newReplica(t, c, classic("t"))
	rec := issued(1, c.Wall())
	rec.Life = 1000 * time.Hour
	r.load(map[string]token.Record{"t": rec})
	r.sync()
	held := r.Token("t")

	done := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before := c.Now() // Read's own look at the clock is not earlier
				got := held.Read()
				if got.State != view.Active {
					continue
				}
				last := clock.Instant(0).Add(time.Duration(got.Record.Version-1) * step)
				if end := before.Add(got.TTL); end > last.Add(w) {
					t.Errorf("version %d (pending: %v) is promised until %v, %v more than the proof before its successor allows",
						got.Record.Version, got.Record.Pending != nil, time.Duration(end), end.Sub(last.Add(w)))
					return
				}
			}
		})
	}
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
		pending := begun(rec, "a")
		r.see("t", pending)
		hands.pass(step)
		r.sync()
		rec = committed(pending, rec.IssuedAt)
		rec.Life = 1000 * time.Hour
		r.see("t", rec)
	}
	close(done)
	group.Wait()
}
