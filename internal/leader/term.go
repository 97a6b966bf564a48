package leader

import (
	"errors"
	"time"
)

// The causes of the end of a lead context (context.Cause), besides the cause of Run's own context. They may come wrapped.
var (
	// ErrTrustLost: the candidate can no longer be sure that etcd holds its key. Another may lead already, or will within seconds.
	ErrTrustLost = errors.New("trust in the lease is lost")
	// ErrResigned: Resign was called. The key is still there, and stays until lead returns.
	ErrResigned = errors.New("resigned")
)

// Term is one time of leadership. Key and Revision are the fence: a transaction that compares the create revision of Key with Revision
// succeeds only while the term lasts.
type Term struct {
	// Key is the leader's key in etcd.
	Key string
	// Revision is the create revision of Key. No two terms have the same, and later ones have greater ones.
	Revision int64
	// Since is when the term began, by this replica's wall clock.
	Since time.Time
}

// Proclamation is what a candidate says of itself: the value of its key, in JSON.
type Proclamation struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Since is when the candidate became the leader, or while it waits, when it began to wait; by its own wall clock.
	Since time.Time `json:"since"`
	// Labels are whatever else the candidates of one program tell each other. Programs that know nothing of them pass them by.
	Labels map[string]string `json:"labels,omitempty"`
}
