package view

import (
	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Change is one record as the store has it; a record that is not there is the zero Record.
type Change struct {
	Name   string
	Record token.Record
	// Unreadable: there is a record, but this program cannot read it; a newer one may have written it. Record is not looked at.
	Unreadable bool
}

// Apply takes in what one revision of the store changed, as the watch tells it. head is the mod revision of the head key if the
// revision changed it, else 0. A revision that the view has passed already is ignored, and false returned.
func (v *View) Apply(revision, head int64, changes []Change) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if revision <= v.revision {
		return false
	}
	for _, c := range changes {
		if t := v.Token(c.Name); t != nil {
			t.apply(c, false)
		}
	}
	v.advance(revision, head)
	return true
}

// Load takes in the whole keyspace as a linearizable read found it at a revision: a record that is missing in changes is not there.
// floor is Revision as it was before the read was sent. A read that was overtaken by the watch is ignored, and false returned; but a
// revision below floor means that the store itself went back: see Rewind.
func (v *View) Load(floor, revision, head int64, changes []Change) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if revision < v.revision && revision >= floor {
		return false
	}
	v.load(revision, head, changes, revision < floor)
	return true
}

// Rewind is Load where the store is known to have gone back in time: it was restored from a backup, or emptied. What it tells of a
// version that this replica held before may lack what it told, or was about to tell, of that version. So what can be rotated away is in
// doubt until there is a higher version, and so is what was in doubt; promised as far as was known before.
func (v *View) Rewind(revision, head int64, changes []Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.load(revision, head, changes, true)
}

// load replaces everything. The caller holds mu.
func (v *View) load(revision, head int64, changes []Change, rewound bool) {
	found := make(map[string]Change, len(changes))
	for _, c := range changes {
		found[c.Name] = c
	}
	for name, t := range *v.tokens.Load() {
		t.apply(found[name], rewound)
	}
	v.head = 0
	v.advance(revision, head)
}

func (v *View) advance(revision, head int64) {
	v.revision = revision
	if head > 0 {
		v.head = head
	}
	close(v.moved)
	v.moved = make(chan struct{})
}

// Applied reports whether the view has applied the given mod revision of head, and returns a channel that is closed when it moves on.
func (v *View) Applied(head int64) (bool, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.head >= head, v.moved
}

// Synced renews the proof of freshness: a linearizable read that was sent at sent found the head key at the mod revision head. It
// returns false, and renews nothing, if the view has not applied that revision, or the clock jumped since the sending.
func (v *View) Synced(sent clock.Reading, head int64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.Read()
	if v.head < head || sent.Era != now.Era {
		return false
	}
	old := v.proof.Load()
	if old != nil && old.era == sent.Era && old.at >= sent.At {
		return true
	}
	v.proof.Store(&proof{at: sent.At, era: sent.Era, skipped: sent.Skipped})
	for _, t := range *v.tokens.Load() {
		// Promises that had lapsed are alive again: tell whoever waits for that.
		if newEra := old == nil || old.era != sent.Era; newEra || now.At.Sub(old.at) >= min(v.syncWindow, t.LongestPromise()) {
			next := *t.cur.Load()
			if newEra && !next.record.Value.IsZero() {
				next.nominalEnd = t.recount(&next, now)
			}
			t.replace(next)
		}
	}
	return true
}

// apply takes in one record; rewound, if the store went back since it told of the one before. An unreadable one may say anything, even
// that the value is dead: that is doubt. The caller holds view.mu.
func (t *Token) apply(c Change, rewound bool) {
	now := t.view.clock.Read() // before the wall clock is used: a pause in between only shortens the life
	rec, old := c.Record, t.cur.Load()
	if c.Unreadable {
		rec = token.Record{Doubt: true}
	}
	next := *old
	t.sightAttempt(&next, rec, now)

	next.seen = max(old.seen, rec.Version)
	if rec.Version > old.seen || !rec.Spent.ForcedAt.Equal(old.record.Spent.ForcedAt) {
		next.heard = now.At
	}
	next.lost = rec.Version < old.seen && !c.Unreadable
	t.remember(&next, old, &rec, rewound)
	next.local = old.local && rec.Version <= old.record.Version
	another := rec.Version == old.record.Version && rec.Value != old.record.Value && !old.record.Value.IsZero()
	next.unmerged = (next.local || another && !rec.Value.IsZero()) && rec.Floor < old.record.Version && !c.Unreadable
	if next.local || another || rec.Version < old.record.Version {
		rec = t.keep(old, rec)
	}
	if renewed(old.record, rec) {
		t.count(&next, rec, now)
	}
	t.freeze(&next, old, rec, now)
	if t.unsettled(rec) {
		next.unsettled = now.At
	}
	if !next.local {
		delete(t.view.locals, t.spec.Name)
	}
	next.record, next.known = &rec, true
	t.replace(next)
}

// remember adds to a record what is known of the version, and the store may have lost: that its value is dead, for good; and doubt since
// the store went back, which ends with a higher version. old is what the replica held.
func (t *Token) remember(next, old *snapshot, rec *token.Record, rewound bool) {
	if old.record.Condemned && !rec.Condemned && rec.Value == old.record.Value && !rec.Value.IsZero() {
		rec.Condemned, next.lost = true, true
	}
	endangered := t.rotates(*old.record) || t.unsettled(*old.record)
	next.doubted = rec.Version <= old.record.Version && old.record.Version > 0 && (old.doubted || rewound && endangered)
	next.untold = next.doubted && rec.Version == old.record.Version && !rec.Doubt
	rec.Doubt = rec.Doubt || next.doubted
}

// keep is what this replica goes by while the store's record is behind what it holds, or gives its version to another value: the store
// lost versions, and may have begun to use them anew, or the replica fetched alone. It holds on to the token, but where the store is
// not merely behind promises it no longer than if a fetch had begun, and no longer than before: what was unsettled is not settled by
// the loss.
func (t *Token) keep(old *snapshot, rec token.Record) token.Record {
	kept := *old.record
	kept.Pending = rec.Pending
	kept.Condemned = old.record.Condemned || rec.Condemned && rec.Value == old.record.Value // whatever it is called there
	kept.Doubt = rec.Doubt || t.unsettled(*old.record) || t.rotates(*old.record) || t.forcedSince(*old.record, rec)
	return kept
}

// sightAttempt remembers, when an attempt is first seen, the last proof from before it began.
func (t *Token) sightAttempt(next *snapshot, rec token.Record, now clock.Reading) {
	if rec.Pending == nil || rec.Pending.Attempt == next.attempt {
		return
	}
	next.attempt, next.anchor = rec.Pending.Attempt, nil
	if p := t.view.proof.Load(); next.known && t.view.inSync(p, now) {
		next.anchor = p
	}
}

// renewed reports whether rec carries a value, or a life, that old did not. The same value may get a higher version; it may also have been
// fetched alone, which tells more of its life than the store knows.
func renewed(old *token.Record, rec token.Record) bool {
	return rec.Value != old.Value || rec.Resolved.Attempt != old.Resolved.Attempt && !rec.IssuedAt.Equal(old.IssuedAt)
}

// count fixes when rec's value ends at the latest, whatever else happens. next has still the record that the replica held. An idempotent
// upstream may have handed out the same value once more: then its end is known already, and no skew is allowed for beyond that. If no wall
// clock was needed to know it, none can put it off: who leads may have a wrong one.
func (t *Token) count(next *snapshot, rec token.Record, now clock.Reading) {
	if next.anchor != nil && rec.Resolved == (token.Resolution{Attempt: next.attempt, Outcome: token.OutcomeToken}) {
		next.since, next.life, next.nominalEnd = next.anchor, rec.Life, next.anchor.at.Add(rec.Life)
	} else {
		known, since := next.nominalEnd, next.since
		next.since, next.nominalEnd = nil, t.byWallClock(rec, now)
		if next.known && rec.Value == next.record.Value {
			known = min(known, next.nominalEnd.Add(t.view.skew))
			if next.since = since; since == nil {
				known = max(known, next.nominalEnd)
			}
			next.nominalEnd = known
		}
	}
}

// recount is the nominal end after the clocks jumped. What was counted through the jump may be far too pessimistic; a replica that
// started now would count from the record's wall time, and so may this one. But the wall clock may have been set wrong: where the life
// needs no wall clock, the monotonic clock alone bounds it, since no more than its jumps can have been counted in error.
func (t *Token) recount(s *snapshot, now clock.Reading) clock.Instant {
	end := t.byWallClock(*s.record, now)
	if s.since != nil {
		end = min(end, s.since.at.Add(s.life+now.Skipped-s.since.skipped))
	}
	return max(s.nominalEnd, end)
}

// byWallClock is the nominal end as a late joiner counts it. However wrong the clocks are, no more is left than the whole life.
func (t *Token) byWallClock(rec token.Record, now clock.Reading) clock.Instant {
	left := rec.IssuedAt.Add(rec.Life).Sub(t.view.clock.Wall()) - t.view.skew
	return now.At.Add(min(left, rec.Life))
}

// freeze fixes the end of the promise while a fetch may have rotated the token away, as of the last proof before that was seen. What
// was found at the first look has no such proof: the view's proofs from before then did not cover this token.
func (t *Token) freeze(next *snapshot, old *snapshot, rec token.Record, now clock.Reading) {
	switch {
	case !t.unsettled(rec):
		next.frozen = false
	case rec.Pending != nil && rec.Pending.Forced, !t.rotates(rec), forgotten(rec) && !next.doubted:
		next.frozen, next.frozenEnd = true, 0
	case !next.frozen || rec.Version != old.record.Version:
		next.frozen, next.frozenEnd = true, 0
		if p := t.view.proof.Load(); p != nil && p.era == now.Era && next.known {
			next.frozenEnd = p.at.Add(t.spec.Timing.W)
		}
	}
}

// forgotten reports whether the leader was told that the store may have lost what became of the version. Whoever did not notice that may
// have proved current, since, a record that was none.
func forgotten(rec token.Record) bool { return rec.Doubt && rec.Floor > 0 && rec.Floor >= rec.Version }

// unsettled reports whether an attempt that could end the value's life is open or was never resolved.
func (t *Token) unsettled(rec token.Record) bool {
	if rec.Doubt {
		return true
	}
	return rec.Pending != nil && (t.rotates(rec) || rec.Pending.Forced)
}

// rotates reports whether rec's value can be rotated away. A value of another source than this replica is configured for, because a
// new configuration has not reached all replicas yet, is taken for the worst.
func (t *Token) rotates(rec token.Record) bool {
	return t.spec.Traits.Rotating || rec.Source != t.spec.Traits.Source
}

// replace publishes a snapshot and wakes everyone who waited for the old one to change. The caller holds view.mu.
func (t *Token) replace(next snapshot) {
	old := t.cur.Load()
	next.changed = make(chan struct{})
	t.cur.Store(&next)
	close(old.changed)
}

// inSync reports whether a proof is recent.
func (v *View) inSync(p *proof, now clock.Reading) bool {
	return p != nil && p.era == now.Era && now.At.Sub(p.at) < v.syncWindow
}
