package snapshot

import "fmt"

// Reason says in a word why a file is refused: in the log, and as a label of the metric.
type Reason string

// The reasons. Those in the first group are of foreign files.
const (
	// NotAFile: a symlink, a folder, a device.
	NotAFile Reason = "not_a_file"
	// Unreadable: the system does not let it be read.
	Unreadable Reason = "unreadable"
	// NotASnapshot: a file of another kind.
	NotASnapshot Reason = "not_a_snapshot"
	// OtherNamespace: another cluster's.
	OtherNamespace Reason = "other_namespace"

	// Damaged: truncated, changed, or mixed up.
	Damaged Reason = "damaged"
	// TooLarge: larger than anything that was written.
	TooLarge Reason = "too_large"
	// Newer: of a newer program.
	Newer Reason = "newer"
	// Exposed: other users of the machine may read or write it.
	Exposed Reason = "exposed"
	// Future: written later than now.
	Future Reason = "future"
	// WrongKeys: a value does not open with the present keys.
	WrongKeys Reason = "wrong_keys"
	// Contradictory: intact, but it cannot be true.
	Contradictory Reason = "contradictory"
)

// removeIt is the way out where nothing can be saved.
const removeIt = "nothing: the next one replaces it; if this happens again, look at the disk"

// Refusal is why a file is not used.
type Refusal struct {
	File   string
	Reason Reason
	// What is wrong, and what to do about it, in words. Neither contains anything of the file but names and times.
	What, Remedy string
	cause        error
}

func refuse(why Reason, what, remedy string, cause error) *Refusal {
	return &Refusal{Reason: why, What: what, Remedy: remedy, cause: cause}
}

// Error says all of it.
func (r *Refusal) Error() string {
	return fmt.Sprintf("snapshot %s is refused: %s; what to do: %s", r.File, r.What, r.Remedy)
}

// Unwrap returns what was found, if a part below said so.
func (r *Refusal) Unwrap() error { return r.cause }

// Foreign reports whether the file is no snapshot of this cluster, so that it must not be replaced.
func (r *Refusal) Foreign() bool {
	switch r.Reason {
	case NotAFile, Unreadable, NotASnapshot, OtherNamespace:
		return true
	default:
		return false
	}
}
