package snapshot

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

const (
	format = "tokenbroker snapshot"
	// magic is how every snapshot begins.
	magic = `{"format":"` + format + `"`
	// schema is the version of the form. A file with a higher one was written by a newer program; it is refused, not guessed.
	schema = 1
	// maxSize bounds a file: some ten thousand tokens of the largest size.
	maxSize = 64 << 20
)

// Snapshot is what a file tells.
type Snapshot struct {
	// Namespace is the prefix of the cluster's keys in etcd.
	Namespace string
	// Replica is the id of the replica that wrote it, and Written that replica's wall clock.
	Replica string
	Written time.Time
	// Head and Puts are how far etcd had come; zero if that is not known. See Course.
	Head, Puts int64
	// Held is what the replica held, by name.
	Held []view.Held
	// Outdated: some value is sealed with another key than it would be now. Encode does not look at it.
	Outdated bool
}

// Codec turns records into their stored form, with the value sealed, and back.
type Codec interface {
	SealRecord(name string, rec token.Record) ([]byte, error)
	// OpenRecord fails with token.ErrSealed where the value does not open.
	OpenRecord(name string, data []byte) (token.Record, error)
	// CurrentRecord reports whether SealRecord would seal the value with the same key.
	CurrentRecord(data []byte) bool
}

// Course is how far the store had come: the mod revision of its head, and how often that had been put. A store that is found less far on
// went back in time.
type Course interface {
	Course() (head, puts int64)
	// Resume is called before anything is loaded.
	Resume(head, puts int64)
}

// envelope is the whole file.
type envelope struct {
	Format string `json:"format"`
	Schema int    `json:"schema"`
	// SHA256 is the checksum of Content's bytes, in hexadecimal.
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

type content struct {
	Namespace string    `json:"namespace"`
	Replica   string    `json:"replica"`
	Written   time.Time `json:"written"`
	Head      int64     `json:"head,omitempty"`
	Puts      int64     `json:"head_puts,omitempty"`
	Tokens    []entry   `json:"tokens"`
}

// entry is a view.Held.
type entry struct {
	Name    string          `json:"name"`
	Seen    int64           `json:"seen"`
	Local   bool            `json:"local,omitempty"`
	Doubted bool            `json:"doubted,omitempty"`
	Record  json.RawMessage `json:"record"`
}

// Encode returns a snapshot in the form of the file.
func Encode(s Snapshot, codec Codec) ([]byte, error) {
	in := content{Namespace: s.Namespace, Replica: s.Replica, Written: s.Written.UTC(), Head: s.Head, Puts: s.Puts, Tokens: make([]entry, len(s.Held))}
	for i, h := range s.Held {
		rec, err := codec.SealRecord(h.Name, h.Record)
		if err != nil {
			return nil, fmt.Errorf("sealing token %s: %w", h.Name, err)
		}
		in.Tokens[i] = entry{Name: h.Name, Seen: h.Seen, Local: h.Local, Doubted: h.Doubted, Record: rec}
	}
	slices.SortFunc(in.Tokens, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })
	inner, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encoding the tokens: %w", err)
	}
	data, err := json.Marshal(envelope{Format: format, Schema: schema, SHA256: checksum(inner), Content: inner})
	if err != nil {
		return nil, fmt.Errorf("encoding the envelope: %w", err)
	}
	if len(data) >= maxSize {
		return nil, fmt.Errorf("%d bytes are more than the %d that would be read again", len(data), maxSize-1)
	}
	return append(data, '\n'), nil
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Decode is the inverse of Encode, for a cluster of this namespace. What was written after latest, by the wall clock, is from the
// future. Its error is a *Refusal, without a file.
func Decode(data []byte, namespace string, latest time.Time, codec Codec) (Snapshot, error) {
	in, refusal := open(data)
	if refusal != nil {
		return Snapshot{}, refusal
	}
	if in.Namespace != namespace {
		return Snapshot{}, refuse(OtherNamespace, fmt.Sprintf("it is of the cluster in the namespace %q, and this one is in %q", in.Namespace, namespace),
			"give each cluster's replicas files of their own", nil)
	}
	if in.Written.After(latest) {
		return Snapshot{}, refuse(Future, "it was written in the future, at "+in.Written.UTC().Format(time.RFC3339),
			"set this machine's clock right, and start again: a wrong clock cannot tell how long a token still lives", nil)
	}
	s := Snapshot{Namespace: in.Namespace, Replica: in.Replica, Written: in.Written, Head: in.Head, Puts: in.Puts, Held: make([]view.Held, 0, len(in.Tokens))}
	names := map[string]bool{}
	for _, e := range in.Tokens {
		held, err := e.held(codec)
		switch {
		case errors.Is(err, token.ErrSealed):
			return Snapshot{}, refuse(WrongKeys, "the value of token "+e.Name+" does not open with the present keys: "+err.Error(),
				"give this replica the keys that the file was written with, or remove it: what is in it is fetched from the cluster anew", err)
		case err != nil:
			return Snapshot{}, refuse(Contradictory, err.Error(), removeIt, err)
		case names[e.Name]:
			return Snapshot{}, refuse(Contradictory, "token "+e.Name+" is in it twice", removeIt, nil)
		}
		names[e.Name] = true
		s.Outdated = s.Outdated || !codec.CurrentRecord(e.Record)
		s.Held = append(s.Held, held)
	}
	return s, nil
}

// open checks the envelope and returns what is in it.
func open(data []byte) (content, *Refusal) {
	if len(data) > 0 && !bytes.HasPrefix(data, []byte(magic)) {
		return content{}, refuse(NotASnapshot, "it is not a snapshot, but something else", "name another file, or remove this one", nil)
	}
	var out envelope
	switch err := json.Unmarshal(data, &out); {
	case errors.As(err, new(*json.SyntaxError)):
		return content{}, refuse(Damaged, "it is damaged: what is in it is not whole", removeIt, err)
	case out.Schema > schema:
		return content{}, refuse(Newer, fmt.Sprintf("a newer program wrote it (schema %d, this program knows %d)", out.Schema, schema),
			"run the newer program; this one writes a file of its own", nil)
	case err != nil || out.Schema < 1:
		return content{}, refuse(Damaged, "it is damaged: its head makes no sense", removeIt, err)
	case checksum(out.Content) != out.SHA256:
		return content{}, refuse(Damaged, "it is damaged: its checksum is not that of its content", removeIt, nil)
	}
	var in content
	if err := json.Unmarshal(out.Content, &in); err != nil {
		return content{}, refuse(Contradictory, "its content is not of the form that belongs to its schema", removeIt, err)
	}
	return in, nil
}

// held decodes one token, and checks what the view relies on.
func (e entry) held(codec Codec) (view.Held, error) {
	if err := token.ValidateName(e.Name); err != nil {
		return view.Held{}, err
	}
	rec, err := codec.OpenRecord(e.Name, e.Record)
	if err != nil {
		return view.Held{}, err
	}
	switch {
	case rec.Version < 1:
		return view.Held{}, fmt.Errorf("token %s never had a value", e.Name)
	case e.Seen < 0 || e.Seen > rec.Version || !e.Local && e.Seen < rec.Version:
		return view.Held{}, fmt.Errorf("version %d of token %s does not fit version %d, which was seen in the store", rec.Version, e.Name, e.Seen)
	case e.Local && rec.Value.IsZero():
		return view.Held{}, fmt.Errorf("token %s is local and has no value", e.Name)
	}
	return view.Held{Name: e.Name, Record: rec, Seen: e.Seen, Local: e.Local, Doubted: e.Doubted}, nil
}
