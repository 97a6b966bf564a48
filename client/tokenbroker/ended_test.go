package tokenbroker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// gate stands where calls of GetToken go: requests of the follower wait until polls is closed, and answers to those who want more life until
// answers is.
type gate struct{ polls, answers chan struct{} }

func (g gate) option() tokenbroker.Option {
	return tokenbroker.WithDialOptions(grpc.WithUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
			get, ok := req.(*tokenbrokerv1.GetTokenRequest)
			if ok && get.GetMinTtl() == nil {
				<-g.polls
			}
			err := call(ctx, method, req, reply, conn, options...)
			if ok && get.GetMinTtl() != nil {
				<-g.answers
			}
			return err
		}))
}

// A goroutine may stand still for any time between an answer and what it does with it.
func TestAnAnswerThatComesAfterCloseIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, g := tokenbrokertest.New(t), gate{make(chan struct{}), make(chan struct{})}
		close(g.polls)
		broker.Set("shop", "one", time.Minute)
		c := broker.Client(g.option())
		must(t, c)
		broker.Set("shop", "two", time.Hour)
		asked := make(chan error)
		go func() {
			_, err := c.TokenFor(t.Context(), "shop", 30*time.Minute)
			asked <- err
		}()
		synctest.Wait()
		_ = c.Close()
		close(g.answers)
		if err := <-asked; !errors.Is(err, tokenbroker.ErrClosed) {
			t.Errorf("who was waiting: %v", err)
		}
		if got, err := c.Token(t.Context(), "shop"); !errors.Is(err, tokenbroker.ErrClosed) {
			t.Errorf("after Close: %v, %v", got, err)
		}
	})
}

// A name that did not exist when one call was answered does when the other is.
func TestATokenThatWasReportedIsHandedOutByNoSourceEvenIfItsNameIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, g := tokenbrokertest.New(t), gate{make(chan struct{}), make(chan struct{})}
		broker.Set("shop", "one", time.Hour)
		c := broker.Client(g.option())
		asked := make(chan error)
		go func() {
			_, err := c.TokenFor(t.Context(), "shop", time.Minute)
			asked <- err
		}()
		synctest.Wait() // it is answered, and does nothing of it yet
		broker.Remove("shop")
		source, refused := c.Source("shop"), make(chan error)
		go func() {
			_, err := source.Token(t.Context())
			refused <- err
		}()
		synctest.Wait()
		close(g.polls)
		if err := <-refused; err == nil {
			t.Fatal("the name is known")
		}
		synctest.Wait()
		broker.Set("shop", "one", time.Hour)
		close(g.answers)
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
		first, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next, err := source.Invalid(t.Context(), first)
		if err != nil || next.Version() != 2 {
			t.Fatalf("got %v, %v", next, err)
		}
		if got, err := source.Token(t.Context()); err != nil || got.Version() != 2 {
			t.Errorf("after the report of %v: %v, %v", first, got, err)
		}
	})
}

// A store that was put back in time gives a version away again.
func TestThePromiseOfAValueIsNotThatOfAnotherOneUnderTheSameVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 2*time.Hour)
		c := broker.Client()
		must(t, c)
		synctest.Wait()
		broker.Remove("shop")
		broker.Set("shop", "another", 20*time.Minute)
		time.Sleep(6 * time.Minute)
		got := must(t, c)
		if got.Value() != "another" || got.TTL() > 14*time.Minute {
			t.Errorf("%v (%s) is believed to live for %v, but dies in 14 min", got, got.Value(), got.TTL())
		}
	})
}
