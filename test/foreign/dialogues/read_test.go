package dialogues_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// object decodes a JSON object; numbers stay as they were written.
func object(text string) (map[string]any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var m map[string]any
	err := decoder.Decode(&m)
	return m, err
}

// whole reads a member that must be an integer without fraction or exponent, as statically typed languages want it. Without the member
// it is absent.
func whole(m map[string]any, key string, absent int64) (int64, error) {
	v, ok := m[key]
	if !ok {
		return absent, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is no number", key)
	}
	return n.Int64()
}

// ordinary reads an answer as most SDKs do: errcode first, which is 0 where it is missing. keeps says for how long a token of so many
// seconds is kept.
func ordinary(a answer, keeps func(seconds int64) (int64, error)) (grant, error) {
	if a.status != 200 {
		return grant{}, fmt.Errorf("status %d", a.status)
	}
	m, err := object(a.body)
	if err != nil {
		return grant{}, err
	}
	code, err := whole(m, "errcode", 0)
	if err != nil {
		return grant{}, err
	}
	if code != 0 {
		return grant{}, &refusal{code}
	}
	token, _ := m["access_token"].(string)
	seconds, err := whole(m, "expires_in", -1)
	if err != nil || token == "" {
		return grant{}, fmt.Errorf("no token: %w", err)
	}
	kept, err := keeps(seconds)
	return grant{token, time.Duration(seconds) * time.Second, time.Duration(kept) * time.Second}, err
}

// less keeps a token for so many seconds less than it lives.
func less(margin int64) func(int64) (int64, error) {
	return func(seconds int64) (int64, error) { return seconds - margin, nil }
}

// strict is what Go's encoding/json makes of an answer, for SDKs that decode into a struct.
func strict(a answer, keeps func(int64) (int64, error)) (grant, error) {
	var into struct {
		ErrCode     int64   `json:"errcode"`
		ErrMsg      string  `json:"errmsg"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if err := json.NewDecoder(bytes.NewBufferString(a.body)).Decode(&into); err != nil {
		return grant{}, err
	}
	if into.ExpiresIn != math.Trunc(into.ExpiresIn) {
		return grant{}, fmt.Errorf("expires_in has a fraction")
	}
	return ordinary(a, keeps)
}
