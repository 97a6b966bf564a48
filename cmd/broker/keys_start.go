package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// What every replica tells of its keys in its candidate's labels. A replica without a keyset has neither.
const (
	labelKeys    = "sealing_keys"    // ids of the enabled keys, by commas
	labelPrimary = "sealing_primary" // the id of the key that seals
)

// labels tell the other replicas, and broker keys, which keys this one has.
func (c sealingConfig) labels() map[string]string {
	if c.Keyset == nil {
		return nil
	}
	var enabled []string
	for _, key := range c.Keyset.Keys() {
		if key.Enabled {
			enabled = append(enabled, key.ID.String())
		}
	}
	return map[string]string{labelKeys: strings.Join(enabled, ","), labelPrimary: c.Keyset.Primary().String()}
}

// openValues looks, as soon as etcd answers, whether this replica can open what is there, and returns an error where it lacks a key or a setting
// for that: it must neither lead, nor take the place of one that can. It blocks until then, or until ctx ends.
//
// A value that was moved or changed is no reason to refuse: no restart mends it, and the other tokens are served meanwhile.
func (r *replica) openValues(ctx context.Context) error {
	values, err := r.store.Survey(ctx)
	if err != nil {
		return nil //nolint:nilerr // it is told to stop: a survey is repeated until then
	}
	var lacking []string
	for _, v := range values {
		refusal, ok := errors.AsType[*seal.OpenError](v.Err)
		switch {
		case !ok || !refusal.Lacking():
		case r.catalog.view.Token(v.Name) == nil:
			r.log.Warn("a value in etcd does not open; its token is not configured", "key", v.Key, "err", v.Err)
		default:
			lacking = append(lacking, fmt.Sprintf("%s at %s: %v", what(v), v.Key, refusal))
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)
	if more := len(lacking) - 3; more > 0 {
		lacking = append(lacking[:3], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("this replica cannot open what is in etcd, and does not start:\n  %s", strings.Join(lacking, "\n  "))
}

// what names a value for people.
func what(v store.AtRest) string {
	if v.Attempt != "" {
		return "token " + v.Name + " (an outcome that a leader left for its successor, for an hour at most)"
	}
	return "token " + v.Name
}
