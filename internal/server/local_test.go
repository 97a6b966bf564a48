package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// A caller got a local version from a replica that is cut off, and asks this one, which is in sync, because the token was refused.
func TestAReportOfAnotherReplicasLocalVersionIsNoMistakeOfTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		time.AfterFunc(time.Second, w.prove)
		got, _, err := w.report(t.Context(), byVersion(stable, 7140000004))
		if err != nil {
			t.Errorf("answered %v, %v", got, err)
		}
	})
}

// This replica is local and in sync, and the floor is not merged yet. A caller reports the store's current version, whose value is the same.
func TestAReportOfTheStoresVersionAtALocalReplicaReachesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		time.Sleep(55 * time.Minute)
		same := token.NewSecret(value(stable, 2))
		if _, ok := w.view.Token(stable).ServeLocal("", same, w.clock.Read(), time.Hour); !ok {
			t.Fatal("not served")
		}
		w.commit(stable, time.Hour) // the leader fetched the same value: version 2
		w.prove()
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		got, _, err := w.report(ctx, byVersion(stable, 2)) // dead, says WeChat
		if err == nil && got.GetAccessToken() == value(stable, 2) && len(w.leader.questions()) == 0 {
			t.Errorf("nobody was asked, and the answer is the reported value once more, as version %d, %v", got.GetVersion(), got.GetState())
		}
	})
}

type fakeStream struct {
	grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]
	ctx context.Context
	got chan *tokenbrokerv1.Token
}

func (s *fakeStream) Context() context.Context { return s.ctx }
func (s *fakeStream) Send(m *tokenbrokerv1.WatchTokenResponse) error {
	s.got <- m.GetToken()
	return nil
}

// A watcher holds a local version when a reload names another account.
func TestAWatcherHearsOfTheTokenAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		time.Sleep(55 * time.Minute)
		if _, ok := w.view.Token(stable).ServeLocal("", token.NewSecret("SECRET-alone"), w.clock.Read(), time.Hour); !ok {
			t.Fatal("not served")
		}
		ctx, cancel := context.WithCancel(t.Context())
		s := &fakeStream{ctx: ctx, got: make(chan *tokenbrokerv1.Token, 100)}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = w.server.WatchToken(&tokenbrokerv1.WatchTokenRequest{Name: stable}, s)
		}()
		synctest.Wait()
		t.Log((<-s.got).GetVersion())
		all := specs()
		all[0].Traits.Source = "another account"
		if err := w.view.Configure(all); err != nil {
			t.Fatal(err)
		}
		w.load()
		for range 10 { // ten tokens of the new account, a day
			w.write(stable, func(rec *token.Record) { rec.Source = "another account" })
			w.commit(stable, 2*time.Hour)
			w.prove()
			time.Sleep(time.Second)
			if n := len(w.view.Unmerged()); n > 0 {
				t.Log("unmerged")
			}
			time.Sleep(2 * time.Hour)
		}
		if len(s.got) == 0 {
			t.Errorf("ten tokens have come and gone at this replica (version %d, %v), and the stream has told of none",
				w.view.Token(stable).Read().Record.Version, view.Active)
		}
		cancel()
		<-ended
	})
}
