package wechat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Why an answer is not believed. None of these texts contains a part of the answer.
var (
	errNotObject = errors.New("it is not one JSON object")
	errRepeated  = errors.New("it has a field twice")
	errCode      = errors.New("errcode is not an integer")
	errText      = errors.New("errmsg or access_token is not a string")
	errNoToken   = errors.New("it has no access_token")
	errBoth      = errors.New("it has both an errcode and an access_token")
	errTokenForm = errors.New("access_token is not 1 to " + strconv.Itoa(token.MaxValueSize) + " visible ASCII characters")
	errLife      = errors.New("expires_in is not a positive integer")
	errNothing   = errors.New("it has neither an errcode nor an ip_list")
)

// answer is what is of interest in any of WeChat's answers.
type answer struct {
	code    int64
	coded   bool // there is an errcode
	message string
	value   string // access_token
	expires json.RawMessage
	listed  bool // there is an ip_list
}

// decodeAnswer reads one JSON object, and nothing after it. Fields that are not of interest may hold anything; one that is may occur
// once, in exactly WeChat's spelling.
func decodeAnswer(body []byte) (*answer, error) {
	a := new(answer)
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errNotObject
	}
	seen := make(map[string]bool)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, errNotObject
		}
		field, ok := name.(string)
		if !ok {
			return nil, errNotObject
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errNotObject
		}
		if seen[field] {
			return nil, errRepeated
		}
		seen[field] = true
		if err := a.set(field, value); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotObject
	}
	return a, nil
}

func (a *answer) set(field string, value json.RawMessage) error {
	switch field {
	case "errcode":
		code, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil {
			return errCode
		}
		a.code, a.coded = code, true
	case "errmsg":
		return text(value, &a.message)
	case "access_token":
		return text(value, &a.value)
	case "expires_in":
		a.expires = value
	case "ip_list":
		a.listed = value[0] == '['
	}
	return nil
}

// text reads a string; null, which encoding/json takes for an empty one, is none.
func text(value json.RawMessage, into *string) error {
	if value[0] != '"' || json.Unmarshal(value, into) != nil {
		return errText
	}
	return nil
}

// grant returns the token that the answer holds, with a life of maxLife at most.
func (a *answer) grant(maxLife time.Duration) (token.Grant, error) {
	if a.value == "" {
		return token.Grant{}, errNoToken
	}
	if !visible(a.value) || len(a.value) > token.MaxValueSize {
		return token.Grant{}, errTokenForm
	}
	seconds, err := strconv.ParseInt(string(a.expires), 10, 64)
	if err != nil || seconds <= 0 {
		return token.Grant{}, errLife
	}
	life := maxLife
	if seconds < int64(maxLife/time.Second) { // compared in seconds: the product could overflow
		life = time.Duration(seconds) * time.Second
	}
	return token.Grant{Value: token.NewSecret(a.value), Life: life}, nil
}

// malformed is the failure of an answer that is not believed. It may hide a token that was issued.
func malformed(reason error) *token.Failure {
	return &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Bug, Written: true, Code: "malformed",
		Meaning: "the answer made no sense", Message: reason.Error(),
		Remedy: "Check the base URL, and whether something between this replica and WeChat answers in its place.",
	}
}
