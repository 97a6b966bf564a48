package history

import "time"

// Issued is one token that the simulated WeChat issued: the truth against which answers are held.
type Issued struct {
	Value string `json:"value"`
	// Token is the name of the broker's token whose account and endpoint it is of.
	Token string `json:"token"`
	// From is when it was issued, Until when it died or will have died, Ends the end of the life that was stated.
	From  time.Duration `json:"from"`
	Until time.Duration `json:"until"`
	Ends  time.Duration `json:"ends"`
	// Replica asked for it; empty if it is not known, or nobody's of ours.
	Replica string `json:"replica,omitempty"`
	// Forced: by a forced refresh, which killed its predecessor at once. Foreign: to somebody who is not one of the brokers, who thereby
	// rotated the brokers' token away.
	Forced  bool `json:"forced,omitempty"`
	Foreign bool `json:"foreign,omitempty"`
	// Killed: the suite itself had WeChat kill it.
	Killed bool `json:"killed,omitempty"`
}
