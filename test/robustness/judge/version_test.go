package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

func TestOnlyAnswersThatFollowEachOtherAreCompared(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.get(10, "r1", stable, 2, "b", 5)
	s.get(10.005, "r1", stable, 1, "a", 5) // under way together
	s.get(10.02, "r2", stable, 1, "a", 5)  // at another replica
	s.get(10.02, "r1", classic, 1, "k", 5) // of another token
	s.expect(t, "S2", 0, 0)
	s.get(10.02, "r1", stable, 1, "a", 5).Actor = "somebody else"
	s.expect(t, "S2", 1, 0)
}

func TestAListShowsAVersionThatWentBack(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.get(10, "r1", stable, 2, "b", 5)
	e := s.get(11, "r1", stable, 1, "", 5)
	e.Kind = history.List
	s.expect(t, "S2", 1, 0)
	e.Answer.Version, e.Answer.State = 0, "expired" // there is no token yet, so no version
	s.expect(t, "S2", 0, 0)
}

func TestAStreamsMessagesNeverGoBack(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.watched(1, 10, "r1", 2, "b", 5)
	s.watched(2, 11, "r1", 1, "a", 5) // another stream, which may have been opened long before
	s.watched(1, 12, "r1", 2, "b", 0)
	s.expect(t, "S2", 0, 0)
	s.watched(1, 13, "r1", 1, "a", 5)
	s.expect(t, "S2", 1, 0)
	s.get(14, "r1", stable, 1, "a", 5) // asked for after a stream had told of 2
	s.expect(t, "S2", 2, 0)
}

func TestARestartedReplicaMayKnowLessOnlyUntilItHasHeard(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.get(10, "r1", stable, 2, "b", 5)
	s.restart(12, 14, "r1")
	s.get(16, "r1", stable, 1, "a", 5)
	s.expect(t, "S2", 0, 1)
	s.fault(17, 30, "r1", history.EffectCut)
	s.get(33, "r1", stable, 1, "a", 5)
	s.expect(t, "S2", 0, 2)
	s.get(36, "r1", stable, 1, "a", 5)
	s.expect(t, "S2", 1, 2)
}

func TestARestartedReplicaNeverGoesBackBehindItself(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.restart(12, 14, "r1")
	s.get(15, "r1", stable, 2, "b", 5)
	s.get(16, "r1", stable, 1, "a", 5)
	s.expect(t, "S2", 1, 0)
}

func TestAProcessTakesOnlyAVersionOfItsOwnWithIt(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(5, stable, "a", 65)
	s.fetch(7, stable, "b", 67)
	s.get(9, "r1", stable, 2, "b", 5)
	s.get(10, "r1", stable, 1000, "c", 5).Answer.Local = true
	s.restart(12, 14, "r1")
	s.expect(t, "S2", 0, 0)
	s.get(30, "r1", stable, 2, "b", 5)
	s.expect(t, "S2", 0, 1)
	s.get(30, "r1", stable, 1, "a", 5) // under way together with the other, and behind what r1 had not made up
	s.expect(t, "S2", 1, 1)
}

func TestAVersionHasOneValueEverywhere(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(5, stable, "a", 65)
	s.get(10, "r1", stable, 1, "a", 5)
	s.expect(t, "S2", 0, 0)
	s.get(11, "r2", stable, 1, "b", 5)
	s.expect(t, "S2", 1, 0)
	s.commit(20, classic, "k")
	s.add(history.Event{Kind: history.Read, Token: classic, Sent: seconds(21), Received: seconds(22), Stored: &history.Stored{Version: 1, Value: "l"}})
	s.expect(t, "S2", 2, 0)
}

func TestAVersionStoodInEtcdUnlessItIsLocal(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(5, stable, "a", 65)
	s.fetch(5, classic, "k", 65)
	local := s.get(10, "r1", stable, 77, "b", 5)
	local.Answer.Local = true
	s.fetch(20, stable, "c", 80)
	s.expect(t, "S2", 0, 0)
	local.Answer.Local = false
	s.expect(t, "S2", 1, 0)
	s.get(10, "r1", classic, 77, "l", 5).Answer.Local = true
	s.expect(t, "S2", 2, 0)
}

func TestAVersionMayBeNewerThanTheLastLookAtEtcd(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(5, stable, "a", 65)
	s.get(10, "r1", stable, 2, "b", 5)
	s.expect(t, "S2", 0, 1)
}

func TestAValueHasOneVersionButForWhatIsFetchedAlone(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(5, stable, "a", 65)
	s.get(10, "r1", stable, 77, "b", 5).Answer.Local = true
	s.put(20, stable, func(r *history.Stored) { r.Floor = 77 })
	s.begin(21, stable, "x")
	s.put(22, stable, func(r *history.Stored) {
		r.Version, r.Value, r.Attempt, r.Floor, r.Resolved, r.Outcome = 78, "b", "", 0, "x", "token"
	})
	s.expect(t, "S2", 0, 1)
	s.begin(31, stable, "y")
	s.put(32, stable, func(r *history.Stored) { r.Version, r.Attempt, r.Resolved = 79, "", "y" })
	s.expect(t, "S2", 0, 2) // the first that is neither local nor raised
	s.put(42, stable, func(r *history.Stored) { r.Version = 100 })
	s.expect(t, "S2", 0, 3) // above what another replica made up
	s.begin(51, stable, "z")
	s.put(52, stable, func(r *history.Stored) { r.Version, r.Attempt, r.Resolved = 101, "", "z" })
	s.expect(t, "S2", 1, 3) // a commit of the same value keeps its version
}
