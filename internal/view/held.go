package view

import "github.com/tokenbroker/tokenbroker/internal/token"

// Held is what the replica holds of one token, for keeping over a restart.
type Held struct {
	Name   string
	Record token.Record
	// Seen is the highest version that was seen in the store; below Record.Version where that is local.
	Seen int64
	// Local: the value was fetched by the replica alone.
	Local bool
	// Doubted: the store went back in time since it told of the version. A doubt that the record has from the store is none of these.
	Doubted bool
}

// Held returns what the replica holds of each token that ever had a value, in no order.
func (v *View) Held() []Held {
	var all []Held
	for name, t := range *v.tokens.Load() {
		if s := t.cur.Load(); s.record.Version > 0 {
			all = append(all, Held{Name: name, Record: *s.record, Seen: s.seen, Local: s.local, Doubted: s.doubted})
		}
	}
	return all
}

// Restore takes in what a predecessor of this process held, before anything was loaded from the store. It is as good as what a late
// joiner reads there, and no better: lives are counted by the wall clock, no rotating token is promised before the first proof of
// freshness, and the store's records replace it unless they are older. Tokens that are not configured, or hold something already,
// are passed over.
func (v *View) Restore(held []Held) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.Read()
	for _, h := range held {
		t := v.Token(h.Name)
		if t == nil {
			continue
		}
		old := t.cur.Load()
		if old.known || old.record.Version > 0 {
			continue
		}
		next, rec := *old, h.Record
		next.record, next.seen, next.local, next.unmerged = &rec, h.Seen, h.Local, h.Local
		next.doubted = h.Doubted // only a higher version ends that
		t.count(&next, rec, now)
		t.freeze(&next, old, rec, now)
		t.replace(next)
	}
	v.advance(v.revision, 0)
}
