package tokenbroker

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

// peekSize is how much of an answer is looked at. WeChat's refusals have some hundred bytes.
const peekSize = 4 << 10

// refusedByWeChat reports whether an answer says that the token is dead. WeChat says so with status 200, and often as text/plain. What was
// read of the body is put back.
func refusedByWeChat(resp *http.Response) bool {
	if resp.Body == nil || resp.StatusCode != http.StatusOK {
		return false
	}
	var seen bytes.Buffer
	code := errcode(io.TeeReader(io.LimitReader(resp.Body, peekSize), &seen))
	resp.Body = &restored{Reader: io.MultiReader(&seen, resp.Body), Closer: resp.Body}
	switch code {
	case 40001, 40014, 42001: // https://developers.weixin.qq.com/doc/oplatform/Return_codes/Return_code_descriptions_new.html
		return true
	default:
		return false
	}
}

// restored is a body of which something was read.
type restored struct {
	io.Reader
	io.Closer
}

// errcode returns the errcode of a JSON object; 0 if that is no JSON object, or has none so far as it can be read. It stops reading where it
// finds one, and at the first byte of anything that is no object.
func errcode(r io.Reader) int64 {
	first := make([]byte, 1)
	for first[0] = ' '; first[0] == ' ' || first[0] == '\n' || first[0] == '\r' || first[0] == '\t'; {
		if _, err := io.ReadFull(r, first); err != nil {
			return 0
		}
	}
	if first[0] != '{' {
		return 0
	}
	d := json.NewDecoder(io.MultiReader(bytes.NewReader(first), r))
	if _, err := d.Token(); err != nil {
		return 0
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0
		}
		if key == "errcode" {
			var code int64
			_ = d.Decode(&code) // stays 0
			return code
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return 0
		}
	}
	return 0
}
