package judge

import (
	"cmp"
	"slices"
	"time"
)

// forever is later than anything in a history.
const forever = time.Duration(1<<63 - 1)

// span is a stretch of time, both ends included.
type span struct{ from, to time.Duration }

// spans are in order, and no two of them touch.
type spans []span

// merge makes spans of any.
func merge(all ...[]span) spans {
	sorted := slices.Concat(all...)
	slices.SortFunc(sorted, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var merged spans
	for _, s := range sorted {
		if n := len(merged); n > 0 && s.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

// until returns the number of spans that begin at a moment or before.
func (all spans) until(at time.Duration) int {
	n, _ := slices.BinarySearchFunc(all, at, func(s span, at time.Duration) int {
		if s.from <= at {
			return -1
		}
		return 1
	})
	return n
}

// touch reports whether one of the spans has a moment in common with s.
func (all spans) touch(s span) bool {
	n := all.until(s.to)
	return n > 0 && all[n-1].to >= s.from
}

// grown returns the spans, each of them longer at its beginning and its end.
func (all spans) grown(before, after time.Duration) spans {
	longer := slices.Clone(all)
	for i := range longer {
		longer[i].from -= before
		if longer[i].to < forever-after {
			longer[i].to += after
		}
	}
	return merge(longer)
}

// firstFree returns the end of the first stretch of a length, from a moment on, that touches none of the spans. forever if there is none.
func (all spans) firstFree(after, length time.Duration) time.Duration {
	for _, s := range all[max(all.until(after)-1, 0):] {
		if s.from > after+length {
			break
		}
		after = max(after, s.to)
	}
	if after >= forever-length {
		return forever
	}
	return after + length
}

// lastFree returns the end of the last stretch of a length before a moment that touches none of the spans; false if there is none
// since time 0.
func (all spans) lastFree(before, length time.Duration) (time.Duration, bool) {
	end := before
	for n := all.until(before); ; n-- { // from gap to gap, backwards
		begin := time.Duration(0)
		if n > 0 {
			begin = all[n-1].to
		}
		if end-begin >= length {
			return end, true
		}
		if n == 0 {
			return 0, false
		}
		end = all[n-1].from
	}
}
