package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// Phase says which moment of a call a record is of.
type Phase string

// The phases.
const (
	// Ordered is before an order is carried out: a refresh, a resignation, a report. Done follows, unless the process dies between.
	Ordered Phase = "ordered"
	// Done is when it is known what the caller is told, before the caller is.
	Done Phase = "done"
	// lost is of the log itself: lines are missing here.
	lost Phase = "lost"
)

// Record is what one line tells. Fields that have their zero value are left out, but for Who.
type Record struct {
	Phase Phase
	// Who are the caller's identities; none if they could not be told.
	Who []access.Identity
	// Method is what was called, and Verb what that means.
	Method string
	Verb   access.Verb
	// Token is the name that the caller asked for, whether there is such a token or not; empty where it is about no token in particular.
	Token string
	// Version is that of the value that is handed out, or of the token that came of an order; 0 if there is none.
	Version int64
	// Allowed is what was decided, and Rule the rule that did so.
	Allowed bool
	Rule    string
	// Code is that of the answer.
	Code string
	// Peer is the address that the call came from.
	Peer string
	// Trace is a trace id: see TraceID.
	Trace string
}

// How long the texts of a line may be, in bytes as they are written.
const (
	longText  = 256 // an identity
	shortText = 96
	// maxWho is how many identities are written.
	maxWho = 8
	// MaxLine is how long a line may be, with its end.
	MaxLine = 4096
)

// appendTo appends the record as one line.
func (r *Record) appendTo(line []byte, now time.Time, replica string) []byte {
	line = begin(line, now, replica, r.Phase)
	line = append(line, `,"who":[`...)
	for i, id := range r.Who[:min(len(r.Who), maxWho)] {
		if i > 0 {
			line = append(line, ',')
		}
		line = appendText(line, string(id), longText)
	}
	line = append(line, ']')
	if more := len(r.Who) - maxWho; more > 0 {
		line = strconv.AppendInt(append(line, `,"who_else":`...), int64(more), 10)
	}
	line = field(line, `,"method":`, r.Method)
	line = field(line, `,"verb":`, string(r.Verb))
	line = field(line, `,"token":`, r.Token)
	if r.Version != 0 {
		line = strconv.AppendInt(append(line, `,"version":`...), r.Version, 10)
	}
	decision := "deny"
	if r.Allowed {
		decision = "allow"
	}
	line = field(line, `,"decision":`, decision)
	line = field(line, `,"rule":`, r.Rule)
	line = field(line, `,"code":`, r.Code)
	line = field(line, `,"peer":`, r.Peer)
	line = field(line, `,"trace":`, r.Trace)
	return append(line, "}\n"...)
}

// appendLost appends the line that says how many are missing.
func appendLost(line []byte, now time.Time, replica string, count int64) []byte {
	line = append(begin(line, now, replica, lost), `,"lost":`...)
	return append(strconv.AppendInt(line, count, 10), "}\n"...)
}

func begin(line []byte, now time.Time, replica string, phase Phase) []byte {
	line = now.UTC().AppendFormat(append(line, `{"time":"`...), "2006-01-02T15:04:05.000000Z")
	line = appendText(append(line, `","replica":`...), replica, longText)
	return field(line, `,"phase":`, string(phase))
}

func field(line []byte, key, text string) []byte {
	if text == "" {
		return line
	}
	return appendText(append(line, key...), text, shortText)
}

// appendText appends a JSON string of at most limit bytes and a hash: printable ASCII as it is, everything else escaped.
func appendText(line []byte, text string, limit int) []byte {
	line = append(line, '"')
	start := len(line)
	for _, r := range text { // what is not UTF-8 comes as U+FFFD
		before := len(line)
		switch {
		case r == '"' || r == '\\':
			line = append(line, '\\', byte(r))
		case r >= ' ' && r <= '~':
			line = append(line, byte(r))
		case r > 0xffff:
			r -= 0x10000
			line = appendEscaped(appendEscaped(line, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			line = appendEscaped(line, r)
		}
		if len(line)-start > limit {
			sum := sha256.Sum256([]byte(text))
			line = hex.AppendEncode(append(line[:before], "...sha256:"...), sum[:8])
			break
		}
	}
	return append(line, '"')
}

func appendEscaped(line []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(line, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
