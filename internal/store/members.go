package store

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// members are those of a JSON object, by their exact names: encoding/json alone would take "Version" for "version".
type members map[string]json.RawMessage

// take decodes into the struct that into points to what it has fields for, and returns the rest.
func (m members) take(into any) (rest members, err error) {
	known, rest := members{}, maps.Clone(m)
	for _, field := range reflect.VisibleFields(reflect.TypeOf(into).Elem()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if raw, found := m[name]; found {
			known[name] = raw
			delete(rest, name)
		}
	}
	data, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	return rest, json.Unmarshal(data, into)
}

// keep makes of members that this program does not know what a record carries along. They may be secret.
func (m members) keep() (token.Secret, error) {
	if len(m) == 0 {
		return token.Secret{}, nil
	}
	data, err := json.Marshal(m)
	return token.NewSecret(string(data)), err
}

// restore adds to a JSON object what keep made.
func restore(object []byte, unknown token.Secret) []byte {
	if unknown.IsZero() {
		return object
	}
	return append(append(object[:len(object)-1], ','), unknown.Reveal()[1:]...)
}
