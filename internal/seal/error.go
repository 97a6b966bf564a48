package seal

import (
	"fmt"
	"strings"
)

// Why says in a word why a value does not open: in logs, and as a label of a metric.
type Why string

// Why a value does not open.
const (
	// MissingKey: it was sealed with a key that is not in the keyset.
	MissingKey Why = "missing_key"
	// DisabledKey: it was sealed with a key that is disabled.
	DisabledKey Why = "disabled_key"
	// Unsealed: it was never sealed, and must be.
	Unsealed Why = "unsealed"
	// Changed: the key is there, and does not open it: it was sealed for another place, or changed since.
	Changed Why = "moved_or_changed"
)

// OpenError is why a value does not open. It says what to do, and nothing of the value.
type OpenError struct {
	Why Why
	// Key is the key that the value names; 0 if it names none.
	Key ID
	// Have are the keys that were at hand.
	Have []Key
}

// Error says what is wrong, and what to do.
func (e *OpenError) Error() string {
	switch e.Why {
	case MissingKey:
		return fmt.Sprintf("it is sealed with key %v, which is missing here: %s; copy the keyset that has it to this replica, and start again", e.Key, have(e.Have))
	case DisabledKey:
		return fmt.Sprintf("it is sealed with key %v, which is disabled here: %s; run broker keys enable FILE %v, copy the keyset to every replica, and start again",
			e.Key, have(e.Have), e.Key)
	case Unsealed:
		return "it is not sealed, and this replica takes nothing in that is not: somebody may have put it there; " +
			"if sealing is being switched on, set insecure_plaintext_store beside the keyset until broker keys reseal is done"
	default:
		return "it was moved here from another key, or changed, or damaged: the key that it names is at hand, and does not open it for this place; " +
			"find out who writes to this etcd, and remove the record: the leader then fetches anew"
	}
}

// Reason is Why, for a metric's label.
func (e *OpenError) Reason() string { return string(e.Why) }

// Lacking reports whether it is for want of a key, or of a setting, of this replica's, and not for what became of the value.
func (e *OpenError) Lacking() bool { return e.Why != Changed }

// have lists keys for people.
func have(keys []Key) string {
	if len(keys) == 0 {
		return "there is no keyset"
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.ID.String()
		switch {
		case key.Primary:
			names[i] += " (primary)"
		case !key.Enabled:
			names[i] += " (disabled)"
		}
	}
	return "the keyset has " + strings.Join(names, ", ")
}
