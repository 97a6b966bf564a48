package store

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// schema is the version of the stored form. A record with a higher one was written by a newer program; it is refused, not guessed.
// It changes only with what an older program would misread: see the package documentation.
const schema = 1

// storedRecord is a token.Record as it stands in etcd. It is JSON, so that it can be read with etcdctl.
type storedRecord struct {
	Schema int `json:"schema"`
	// Write is a random id of the write, by which a writer whose answer was lost knows its own.
	Write string `json:"write"`
	// Term is the create revision of the election key under whose fence it was written: who leads may have changed since.
	Term        int64                `json:"term"`
	Version     int64                `json:"version"`
	Source      string               `json:"source,omitempty"`
	Sealed      []byte               `json:"sealed,omitempty"`
	IssuedAt    time.Time            `json:"issued_at,omitzero"`
	LifeMillis  int64                `json:"life_ms,omitempty"`
	Pending     *storedIntent        `json:"pending,omitempty"`
	Doubt       bool                 `json:"doubt,omitempty"`
	Drained     bool                 `json:"drained,omitempty"`
	Condemned   bool                 `json:"condemned,omitempty"`
	Resolved    *storedResolution    `json:"resolved,omitempty"`
	RefreshedAt time.Time            `json:"refreshed_at,omitzero"`
	Spent       storedSpending       `json:"spent"`
	LastFailure *storedFailure       `json:"last_failure,omitempty"`
	Failures    int                  `json:"failures,omitempty"`
	Forced      int64                `json:"forced_version,omitempty"`
	Floor       int64                `json:"floor,omitempty"`
	EarlyDeaths *storedDeaths        `json:"early_deaths,omitempty"`
	HandedOver  map[string]time.Time `json:"handed_over,omitempty"`
}

type storedIntent struct {
	Attempt string    `json:"attempt"`
	Term    int64     `json:"term"`
	Source  string    `json:"source,omitempty"`
	At      time.Time `json:"at"`
	Forced  bool      `json:"forced,omitempty"`
}

type storedResolution struct {
	Attempt string        `json:"attempt"`
	Outcome token.Outcome `json:"outcome"`
}

type storedSpending struct {
	Day      string    `json:"day,omitempty"`
	Fetches  int64     `json:"fetches"`
	Forced   int64     `json:"forced,omitempty"`
	ForcedAt time.Time `json:"forced_at,omitzero"`
}

type storedDeaths struct {
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

type storedFailure struct {
	Outcome          token.Outcome `json:"outcome,omitempty"`
	Class            token.Class   `json:"class"`
	Written          bool          `json:"written,omitempty"`
	Code             string        `json:"code"`
	Meaning          string        `json:"meaning,omitempty"`
	Remedy           string        `json:"remedy,omitempty"`
	Message          string        `json:"message,omitempty"`
	RetryAfterMillis int64         `json:"retry_after_ms,omitempty"`
	At               time.Time     `json:"at,omitzero"`
	Replica          string        `json:"replica,omitempty"`
}

// storedOrphan is a token.Orphan as it stands in etcd.
type storedOrphan struct {
	Schema     int           `json:"schema"`
	Outcome    token.Outcome `json:"outcome"`
	Late       bool          `json:"late,omitempty"`
	Sealed     []byte        `json:"sealed,omitempty"`
	IssuedAt   time.Time     `json:"issued_at,omitzero"`
	LifeMillis int64         `json:"life_ms,omitempty"`
}

func (s *Store) encodeRecord(key, write string, term int64, rec token.Record) ([]byte, error) {
	sealed, err := s.seal(key, rec.Value)
	if err != nil {
		return nil, err
	}
	out := storedRecord{
		Schema: schema, Write: write, Term: term, Version: rec.Version, Source: rec.Source, Sealed: sealed,
		IssuedAt: rec.IssuedAt.UTC(), LifeMillis: rec.Life.Milliseconds(),
		Pending: (*storedIntent)(rec.Pending), Doubt: rec.Doubt, Drained: rec.Drained, Condemned: rec.Condemned,
		RefreshedAt: rec.RefreshedAt.UTC(), Spent: storedSpending(rec.Spent), Failures: rec.Failures, HandedOver: rec.HandedOver,
		LastFailure: encodeFailure(&rec.LastFailure), Forced: rec.ForcedVersion, Floor: rec.Floor,
	}
	if rec.EarlyDeaths != (token.EarlyDeaths{}) {
		out.EarlyDeaths = &storedDeaths{Count: rec.EarlyDeaths.Count, Last: rec.EarlyDeaths.Last.UTC()}
	}
	if rec.Resolved != (token.Resolution{}) {
		out.Resolved = (*storedResolution)(&rec.Resolved)
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return restore(data, rec.Unknown), nil
}

func (s *Store) decodeRecord(key string, data []byte) (token.Record, error) {
	notARecord := func(err error) (token.Record, error) {
		return token.Record{}, fmt.Errorf("%w: %s is not a token record: %w", errFinal, key, err)
	}
	var all members
	if err := json.Unmarshal(data, &all); err != nil {
		return notARecord(err)
	}
	var form struct {
		Schema int `json:"schema"`
	}
	if _, err := all.take(&form); err != nil {
		return notARecord(err)
	}
	if form.Schema != schema {
		return token.Record{}, fmt.Errorf("%w: %s has schema %d, this program knows %d; run the newer program", errFinal, key, form.Schema, schema)
	}
	var in storedRecord
	rest, err := all.take(&in)
	if err != nil {
		return notARecord(err)
	}
	unknown, err := rest.keep()
	if err != nil {
		return notARecord(err)
	}
	value, err := s.open(key, in.Sealed)
	if err != nil {
		return token.Record{}, err
	}
	if in.Version < 0 || in.LifeMillis < 0 || in.LifeMillis > longestMillis || in.Failures < 0 || in.Forced < 0 || in.Floor < 0 ||
		in.Version == 0 && !value.IsZero() {
		return token.Record{}, fmt.Errorf("%w: %s contradicts itself", errFinal, key)
	}
	rec := token.Record{
		Version: in.Version, Source: in.Source, Value: value, IssuedAt: in.IssuedAt, Life: duration(in.LifeMillis),
		Pending: (*token.Intent)(in.Pending), Doubt: in.Doubt, Drained: in.Drained, Condemned: in.Condemned,
		RefreshedAt: in.RefreshedAt, Spent: token.Spending(in.Spent), Failures: in.Failures, HandedOver: in.HandedOver,
		ForcedVersion: in.Forced, Floor: in.Floor, Unknown: unknown,
	}
	if in.EarlyDeaths != nil {
		rec.EarlyDeaths = token.EarlyDeaths(*in.EarlyDeaths)
	}
	if f := decodeFailure(in.LastFailure); f != nil {
		rec.LastFailure = *f
	}
	if in.Resolved != nil {
		rec.Resolved = token.Resolution(*in.Resolved)
	}
	return rec, nil
}

func encodeFailure(f *token.Failure) *storedFailure {
	if f == nil || f.Code == "" {
		return nil
	}
	return &storedFailure{
		Outcome: f.Outcome, Class: f.Class, Written: f.Written, Code: f.Code, Meaning: f.Meaning, Remedy: f.Remedy,
		Message: f.Message, RetryAfterMillis: f.RetryAfter.Milliseconds(), At: f.At.UTC(), Replica: f.Replica,
	}
}

func decodeFailure(f *storedFailure) *token.Failure {
	if f == nil {
		return nil
	}
	return &token.Failure{
		Outcome: f.Outcome, Class: f.Class, Written: f.Written, Code: f.Code, Meaning: f.Meaning, Remedy: f.Remedy,
		Message: f.Message, RetryAfter: duration(f.RetryAfterMillis), At: f.At, Replica: f.Replica,
	}
}

func (s *Store) encodeOrphan(key string, o token.Orphan) ([]byte, error) {
	sealed, err := s.seal(key, o.Value)
	if err != nil {
		return nil, err
	}
	return json.Marshal(storedOrphan{
		Schema: schema, Outcome: o.Outcome, Late: o.Late, Sealed: sealed, IssuedAt: o.IssuedAt.UTC(), LifeMillis: o.Life.Milliseconds(),
	})
}

func (s *Store) decodeOrphan(key, attempt string, data []byte) (token.Orphan, error) {
	var in storedOrphan
	if err := json.Unmarshal(data, &in); err != nil || in.Schema != schema {
		return token.Orphan{}, fmt.Errorf("%w: %s is not an orphan of schema %d", errFinal, key, schema)
	}
	value, err := s.open(key, in.Sealed)
	if err != nil {
		return token.Orphan{}, err
	}
	o := token.Orphan{
		Attempt: attempt, Outcome: in.Outcome, Late: in.Late,
		Value: value, IssuedAt: in.IssuedAt, Life: duration(in.LifeMillis),
	}
	switch {
	case o.Outcome == token.OutcomeToken && !value.IsZero() && o.Life > 0 && in.LifeMillis <= longestMillis:
	case o.Outcome == token.OutcomeNone && value.IsZero():
	case o.Outcome == token.OutcomeUnknown && value.IsZero() && o.Late:
	default:
		return token.Orphan{}, fmt.Errorf("%w: %s contradicts itself", errFinal, key)
	}
	return o, nil
}

// longestMillis is the longest time.Duration in whole milliseconds.
const longestMillis = int64(math.MaxInt64 / time.Millisecond)

// duration is what was stored in milliseconds, within what a time.Duration can be.
func duration(millis int64) time.Duration {
	return time.Duration(min(max(millis, 0), longestMillis)) * time.Millisecond
}
