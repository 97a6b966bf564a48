package tokenbroker_test

import (
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// Reading a held token, by all processors at once with -cpu. test/bench/sdk measures it beside other ways to have one.
func BenchmarkToken(b *testing.B) {
	broker := tokenbrokertest.New(b)
	broker.Set("shop", "one", 2*time.Hour)
	client := broker.Client()
	source := client.Source("shop")
	ctx := b.Context()
	for range 2 {
		if _, err := source.Token(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("source", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := source.Token(ctx); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := client.Token(ctx, "shop"); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("clock alone", func(b *testing.B) {
		base := time.Now()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if time.Since(base) < 0 {
					b.Error("time goes backwards")
				}
			}
		})
	})
}
