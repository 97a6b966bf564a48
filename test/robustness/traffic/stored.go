package traffic

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// decode reads a token's record as it stands in etcd, and a candidate's key. That is done here once more, and not by the broker's own
// code, so that a mistake there is not repeated in the judgement. A value that does not open is a mistake by itself.
func (o *Observer) decode(kv *mvccpb.KeyValue) (*history.Stored, error) {
	var in struct {
		Write   string `json:"write"`
		Term    int64  `json:"term"`
		Version int64  `json:"version"`
		Sealed  []byte `json:"sealed"`
		Pending *struct {
			Attempt string `json:"attempt"`
			Term    int64  `json:"term"`
			Forced  bool   `json:"forced"`
		} `json:"pending"`
		Doubt     bool `json:"doubt"`
		Drained   bool `json:"drained"`
		Condemned bool `json:"condemned"`
		Resolved  struct {
			Attempt string `json:"attempt"`
			Outcome string `json:"outcome"`
		} `json:"resolved"`
		Spent struct {
			Day     string `json:"day"`
			Fetches int64  `json:"fetches"`
		} `json:"spent"`
		Floor int64 `json:"floor"`
	}
	if err := json.Unmarshal(kv.GetValue(), &in); err != nil {
		return nil, fmt.Errorf("reading the record %s of revision %d: %w", kv.GetKey(), kv.GetModRevision(), err)
	}
	if o.cfg.Keyset != nil && len(in.Sealed) > 0 {
		var err error
		if in.Sealed, err = o.cfg.Keyset.Open(in.Sealed, string(kv.GetKey())); err != nil {
			return nil, fmt.Errorf("opening the value of %s in revision %d: %w", kv.GetKey(), kv.GetModRevision(), err)
		}
	}
	out := &history.Stored{
		Revision: kv.GetModRevision(), Version: in.Version, Value: string(in.Sealed), Term: in.Term, Write: in.Write,
		Doubt: in.Doubt, Drained: in.Drained, Condemned: in.Condemned, Resolved: in.Resolved.Attempt, Outcome: in.Resolved.Outcome,
		Fetches: in.Spent.Fetches, Day: in.Spent.Day, Floor: in.Floor,
	}
	if p := in.Pending; p != nil {
		out.Attempt, out.AttemptTerm, out.Forced = p.Attempt, p.Term, p.Forced
	}
	return out, nil
}

func candidate(kv *mvccpb.KeyValue) history.Candidate {
	var in struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(kv.GetValue(), &in) // whoever takes part with etcdctl has no id
	return history.Candidate{Key: string(kv.GetKey()), ID: in.ID, Created: kv.GetCreateRevision(), Proclaimed: kv.GetVersion() > 1}
}
