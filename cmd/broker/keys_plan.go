package main

import (
	"fmt"
	"slices"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// keyStep is a step of a rotation.
type keyStep string

// The steps, in their order.
const (
	stepAdd     keyStep = "add"
	stepPromote keyStep = "promote"
	stepReseal  keyStep = "reseal"
	stepDisable keyStep = "disable"
)

// keyPlan is the next step, and what speaks against taking it now.
type keyPlan struct {
	step keyStep
	// keys are those that the step is about: the one to promote, or those to disable.
	keys []seal.ID
	// objections say each what is in the way, and what to do.
	objections []string
}

// planRotation says which step is next. The order of the keys in the set tells how far it is: a key behind the primary is to be promoted, and
// one before it to be disabled.
func planRotation(keys []seal.Key, replicas []keyHolder, values []store.AtRest) keyPlan {
	at := slices.IndexFunc(keys, func(k seal.Key) bool { return k.Primary })
	primary := keys[at].ID
	older, newer := enabledKeys(keys[:at]), enabledKeys(keys[at+1:])
	var p keyPlan
	p.object(strangeKeys(keys, replicas)...)
	switch {
	case len(newer) > 0:
		p.step, p.keys = stepPromote, newer[len(newer)-1:]
		p.object(lacksKey(replicas, p.keys[0])...)
	case len(older) == 0:
		p.step = stepAdd
	default:
		records, orphans, bad := sealedOtherwise(values, primary)
		p.step, p.keys = stepDisable, older
		if len(records) > 0 {
			p.step = stepReseal
		}
		p.object(sealsOtherwise(replicas, primary)...)
		p.object(bad...)
		if p.step == stepDisable {
			p.object(orphans...)
		}
	}
	return p
}

func (p *keyPlan) object(objections ...string) { p.objections = append(p.objections, objections...) }

func enabledKeys(keys []seal.Key) []seal.ID {
	var ids []seal.ID
	for _, key := range keys {
		if key.Enabled {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

// strangeKeys objects to a file that is not what the replicas have: going on from it would make two keysets of one.
func strangeKeys(keys []seal.Key, replicas []keyHolder) (objections []string) {
	for _, r := range replicas {
		for _, id := range r.keys {
			if !slices.ContainsFunc(keys, func(k seal.Key) bool { return k.ID == id }) {
				objections = append(objections, fmt.Sprintf("replica %s has key %v, which is not in the file: go on from the file that it has", r.id, id))
			}
		}
	}
	return objections
}

// lacksKey objects to replicas that could not open what a key seals.
func lacksKey(replicas []keyHolder, id seal.ID) (objections []string) {
	for _, r := range replicas {
		if !slices.Contains(r.keys, id) {
			objections = append(objections, fmt.Sprintf("replica %s does not have key %v yet: copy the file to it, and restart it", r.id, id))
		}
	}
	return append(objections, nobody(replicas)...)
}

// sealsOtherwise objects to replicas that would seal with another key than the primary when they lead.
func sealsOtherwise(replicas []keyHolder, primary seal.ID) (objections []string) {
	for _, r := range replicas {
		switch {
		case r.primary == 0:
			objections = append(objections, fmt.Sprintf("replica %s has no keyset: copy the file to it, and configure it", r.id))
		case r.primary != primary:
			objections = append(objections, fmt.Sprintf("replica %s still seals with key %v, not with %v: copy the file to it, and restart it", r.id, r.primary, primary))
		}
	}
	return append(objections, nobody(replicas)...)
}

func nobody(replicas []keyHolder) []string {
	if len(replicas) > 0 {
		return nil
	}
	return []string{"no replica is live, so that nobody can say which keys it has: start them"}
}

// sealedOtherwise lists what is not sealed with the primary: records, orphans, and what nobody can seal anew.
func sealedOtherwise(values []store.AtRest, primary seal.ID) (records []store.AtRest, orphans, bad []string) {
	for _, v := range values {
		id, sealed := seal.KeyOf(v.Sealed)
		switch {
		case sealed && id == primary:
		case v.Attempt != "":
			orphans = append(orphans, fmt.Sprintf("%s is sealed with key %v: wait until it is gone, an hour at most", what(v), id))
		case v.Err != nil:
			bad = append(bad, fmt.Sprintf("%s at %s cannot be sealed anew: %v", what(v), v.Key, v.Err))
		default:
			records = append(records, v)
		}
	}
	return records, orphans, bad
}
