package agent_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// While no broker can be reached nobody knows which names there are.
func TestNamesThatNobodyKnowsAreBoundedInAnOutage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), 2*time.Hour)
		w.start()
		w.must()
		w.network.Cut()
		synctest.Wait()
		const most = 1024
		before := runtime.NumGoroutine()
		ask := func(name string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := w.api.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name})
			return err
		}
		for batch := range 6 { // the race detector has a limit of its own
			var asking sync.WaitGroup
			for i := range most / 4 {
				asking.Go(func() {
					expect(t, "an unknown name", ask(fmt.Sprintf("no-%d-%d", batch, i)), "Unavailable tokenbroker/CLUSTER_UNREACHABLE with a time")
				})
			}
			asking.Wait()
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n < 2*most || n > 2*most+most/4 {
			t.Errorf("%d more goroutines run", n)
		}
		w.must() // whatever else is asked for
		w.broker.Set("new", value(2), time.Hour)
		w.network.Heal()
		time.Sleep(30 * time.Second)
		if n := runtime.NumGoroutine() - before; n > most/4 {
			t.Errorf("%d more goroutines run although the brokers know none of the names", n)
		}
		if err := ask("new"); err != nil {
			t.Errorf("a name that there is: %v", err)
		}
	})
}
