package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

func TestAPromiseMayLastToTheEndOfTheLifeAndNoLonger(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.issue(stable, "a", 10, 70)
	answer := s.get(65, "r1", stable, 1, "a", 5).Answer
	s.expect(t, "S1", 0, 0)
	answer.TTL++
	s.expect(t, "S1", 1, 0)
}

func TestAPromiseIsNeverLongerThanTheSafetyWindow(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.issue(classic, "a", 10, 70)
	s.get(11, "r1", classic, 1, "a", 8)
	s.expect(t, "S1", 0, 0)
	s.get(12, "r1", classic, 1, "a", 8.001)
	s.expect(t, "S1", 1, 0)
}

func TestAStreamsMessageCountsFromTheIssueOfItsTokenAndNotFromItsArrival(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.issue(stable, "a", 10, 70)
	s.watched(1, 40, "r1", 1, "a", 59)
	s.expect(t, "S1", 0, 0)
	s.watched(1, 41, "r2", 1, "a", 60.001) // not even when it was issued
	s.expect(t, "S1", 1, 0)
}

func TestAStreamsMessageIsNotOlderThanTheOneBefore(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.issue(stable, "a", 10, 70)
	s.issue(stable, "b", 30, 90)
	s.watched(1, 31, "r1", 2, "b", 50)
	s.watched(1, 32, "r1", 1, "a", 41) // it would be right before 29
	s.expect(t, "S1", 1, 0)
}

// killedAt20 is a stable token that dies at 20, long before its time; who killed it is said by its successor.
func killedAt20() (*scene, *history.Issued) {
	s := newScene()
	s.begin(9.9, stable, "x")
	s.commit(10.2, stable, "a")
	s.issue(stable, "a", 10, 20)
	successor := s.issue(stable, "b", 20, 80)
	successor.Forced = true
	return s, successor
}

func TestAForcedRefreshExcusesWhoMayNotHaveHeardOfItsBeginning(t *testing.T) {
	t.Parallel()
	s, _ := killedAt20()
	s.begin(19.5, stable, "y").Stored.Forced = true
	s.get(19, "r1", stable, 1, "a", 40)
	s.get(21, "r1", stable, 1, "a", 40)
	s.get(24, "r1", stable, 1, "a", 30) // it had 4.5 s to hear; 5 are allowed
	s.expect(t, "S1", 0, 3)
	s.get(25, "r1", stable, 1, "a", 30)
	s.expect(t, "S1", 1, 3)
}

func TestAForcedRefreshExcusesWhoIsCutOff(t *testing.T) {
	t.Parallel()
	s, _ := killedAt20()
	s.begin(19.5, stable, "y").Stored.Forced = true
	s.fault(15, 40, "r1", history.EffectCut)
	s.get(39, "r1", stable, 1, "a", 20)
	s.get(39, "r2", stable, 1, "a", 20)
	s.expect(t, "S1", 1, 1)
	s.get(44, "r1", stable, 1, "a", 20)
	s.expect(t, "S1", 1, 2)
	s.get(46, "r1", stable, 1, "a", 20)
	s.expect(t, "S1", 2, 2)
}

func TestAForcedAttemptThatCameToNothingForbidsNoPromise(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.begin(9.9, stable, "x")
	s.commit(10.2, stable, "a")
	s.issue(stable, "a", 10, 40)
	s.begin(19.5, stable, "y").Stored.Forced = true
	s.abort(20, stable)
	s.issue(stable, "b", 40, 100).Forced = true
	s.begin(39.5, stable, "z").Stored.Forced = true
	s.get(30, "r1", stable, 1, "a", 30)
	s.expect(t, "S1", 0, 1)
}

func TestSomebodyElsesFetchExcusesUntilTheTokenIsKnownToBeDead(t *testing.T) {
	t.Parallel()
	s, successor := killedAt20()
	successor.Foreign = true
	s.get(30, "r1", stable, 1, "a", 20)
	s.expect(t, "S1", 0, 1)
	s.put(31, stable, func(r *history.Stored) { r.Condemned = true })
	s.get(35, "r1", stable, 1, "a", 20)
	s.expect(t, "S1", 0, 2)
	s.get(37, "r1", stable, 1, "a", 20)
	s.expect(t, "S1", 1, 2)
}

func TestTheSuitesOwnKillExcuses(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(10, classic, "a", 20)
	s.get(15, "r1", classic, 1, "a", 8)
	s.expect(t, "S1", 1, 0)
	s.Issued[0].Killed = true
	s.expect(t, "S1", 0, 1)
}

func TestOnlySomebodyElsesPartInARotationExcuses(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(10, classic, "a", 22)
	s.issue(classic, "b", 20, 32)
	s.issue(classic, "c", 22, 82)
	s.get(16, "r1", classic, 1, "a", 8)
	s.expect(t, "S1", 1, 0)
	s.Issued[1].Foreign = true
	s.expect(t, "S1", 0, 1)
}

func TestARotationAfterAPauseBeyondPExcuses(t *testing.T) {
	t.Parallel()
	for _, pause := range []struct {
		name     string
		begun    float64 // the attempt
		from, to float64
		replica  string
		commit   bool // what it brought
		excused  int
	}{
		{"longer than P", 15, 17.9, 19.95, "r1", false, 1},
		{"longer than P, before a commit", 15, 17.9, 19.95, "r1", true, 1},
		{"longer than P, said to be over only after the request", 15, 17.9, 20.3, "r1", false, 1},
		{"of P", 15, 17.95, 19.95, "r1", false, 0},
		{"longer than P, but not after BEGIN", 18, 17, 19.95, "r1", false, 0},
		{"longer than P, but not after BEGIN, before a commit", 18, 17, 19.95, "r1", true, 0},
		{"of another replica than fetched", 15, 17.9, 19.95, "r2", false, 0},
		{"that was over long before the request", 10, 11, 16.9, "r1", false, 0},
		{"after the request", 15, 20.01, 30, "r1", false, 0},
	} {
		t.Run(pause.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			s.fetch(5, classic, "a", 22)
			s.begin(pause.begun, classic, "for-b")
			if pause.commit {
				s.commit(20.1, classic, "b")
			}
			s.issue(classic, "b", 20, 32).Replica = "r1"
			s.issue(classic, "c", 22, 82).Replica = "r1"
			s.get(16, "r1", classic, 1, "a", 8)
			s.fault(pause.from, pause.to, pause.replica, history.EffectHeld)
			s.expect(t, "S1", 1-pause.excused, pause.excused)
		})
	}
}

func TestAWrongClockExcusesOnlyWhoCountsByIt(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(20, stable, "a", 80.1)
	s.get(60, "r1", stable, 1, "a", 30)
	s.expect(t, "S1", 1, 0)
	s.fault(30, 100, "r1", history.EffectSkewed) // but it was there when the token was fetched
	s.expect(t, "S1", 1, 0)
	s.fault(19, 22, "r1", history.EffectCut)
	s.expect(t, "S1", 0, 1)
}

func TestAWrongClockOfWhoFetchedExcusesWhoWasNotThere(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(20, stable, "a", 80.1).Replica = "r2"
	s.restart(15, 22, "r1")
	s.get(60, "r1", stable, 1, "a", 30)
	s.expect(t, "S1", 1, 0)
	s.fault(10, 25, "r2", history.EffectSkewed)
	s.expect(t, "S1", 0, 1)
}

func TestAWrongClockOfWhoGotATokenOnceMoreExcusesWhoCountsByIt(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.elect(1, 1, true, "r2", "r1")
	s.fetch(20, stable, "a", 80.1).Replica = "r2"
	s.begin(40, stable, "again")
	s.commit(40.2, stable, "a")
	s.get(60, "r1", stable, 1, "a", 30)
	s.expect(t, "S1", 1, 0)
	s.fault(35, 45, "r2", history.EffectSkewed)
	s.expect(t, "S1", 1, 0) // r1 was there when the token was fetched
	s.restart(25, 30, "r1")
	s.expect(t, "S1", 0, 1)
}

func TestAPromiseOnALocalTokenHoldsUntilAnotherIsCommitted(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(10, stable, "a", 70)
	s.issue(stable, "own", 30, 40)
	s.fetch(40, stable, "c", 100).Forced = true
	s.Issued[2].From = seconds(40)
	local := s.get(39, "r1", stable, 1000, "own", 20).Answer
	local.Local = true
	s.expect(t, "S1", 0, 1)
	s.get(50, "r1", stable, 1000, "own", 20).Answer.Local = true
	s.expect(t, "S1", 1, 1)
}

func TestAPromiseOnALocalTokenHoldsAlthoughItIsCommittedLater(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(10, stable, "a", 70)
	s.issue(stable, "own", 30, 60).Killed = true
	s.begin(50, stable, "for-own")
	s.commit(50.2, stable, "own")
	s.get(40, "r1", stable, 1000, "own", 40).Answer.Local = true
	s.expect(t, "S1", 0, 1)
	s.fetch(70, stable, "c", 130)
	s.get(80, "r1", stable, 1000, "own", 20).Answer.Local = true
	s.expect(t, "S1", 1, 1)
}

func TestWhatIsKnownOfTheStoredTokenSaysNothingOfALocalOne(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(10, stable, "a", 70)
	s.put(12, stable, func(r *history.Stored) { r.Doubt = true })
	s.issue(stable, "own", 30, 50)
	s.issue(stable, "c", 50, 130).Forced = true
	s.get(40, "r1", stable, 1000, "own", 20).Answer.Local = true
	s.expect(t, "S1", 0, 1)
}

func TestAReplicaThatHeardOfAForcedAttemptKnowsThatALocalTokenMayDie(t *testing.T) {
	t.Parallel()
	for begun, violated := range map[float64]int{12: 0, 27: 1} { // the first is over when the replica fetches at 30
		s := newScene()
		s.fetch(10, stable, "a", 70)
		s.begin(begun, stable, "forced").Stored.Forced = true
		s.put(begun+1, stable, func(r *history.Stored) { r.Attempt, r.AttemptTerm, r.Forced, r.Doubt = "", 0, false, true })
		s.issue(stable, "own", 30, 50)
		s.issue(stable, "c", 50, 130).Forced = true
		s.get(40, "r1", stable, 1000, "own", 20).Answer.Local = true
		s.expect(t, "S1", violated, 1-violated)
	}
}
