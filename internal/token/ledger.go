package token

import "errors"

// Entry is a record as a linearizable read found it.
type Entry struct {
	Record Record
	// Revision is the mod revision of the record's key; 0 if there is none. A write must name it.
	Revision int64
	// Orphans are the outcomes that deposed leaders left for this token.
	Orphans []Orphan
}

// Why a fenced write was not done. Any other error of a write means that its outcome is unknown.
var (
	// ErrDeposed: the term is over. Another replica leads, or none.
	ErrDeposed = errors.New("the term is over")
	// ErrConflict: the term stands, but the record is not at the revision that the write named.
	ErrConflict = errors.New("the record was changed in between")
)
