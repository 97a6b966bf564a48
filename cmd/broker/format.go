package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// The forms of output.
const (
	asTable = "table"
	asJSON  = "json"
	asValue = "value"
)

// writeJSON writes a message in protobuf's JSON form: indented, or on one line.
func writeJSON(w io.Writer, m proto.Message, indented bool) error {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	var b bytes.Buffer // protojson varies its white space on purpose
	if indented {
		err = json.Indent(&b, raw, "", "  ")
	} else {
		err = json.Compact(&b, raw)
	}
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// table aligns columns; every row ends with a line break.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (t table) row(cells ...string) {
	fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

// span shows a duration in its two largest units: 2d3h, 1h59m, 3m20s, 45s.
func span(d time.Duration) string {
	d = d.Truncate(time.Second)
	days, hours := int64(d/(24*time.Hour)), int64(d/time.Hour)%24
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", days, hours)
	case d >= time.Hour:
		return short(d.Truncate(time.Minute))
	default:
		return short(d)
	}
}

// relative shows when t is, seen from now: "in 3m20s", "2h5m ago"; "-" if unset.
func relative(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	switch d := t.AsTime().Sub(now); {
	case d >= time.Second:
		return "in " + span(d)
	case d <= -time.Second:
		return span(-d) + " ago"
	default:
		return "now"
	}
}

// life shows a guaranteed life to the second, rounded down.
func life(t *tokenbrokerv1.Token) string {
	if t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		return "-"
	}
	return t.GetTtl().AsDuration().Truncate(time.Second).String()
}

// stateWord is the state as one word: active, suspect, expired.
func stateWord(s tokenbrokerv1.TokenState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TOKEN_STATE_"))
}

// standing is the state with a mark where the replica fetched the token alone.
func standing(s tokenbrokerv1.TokenState, local bool) string {
	if local {
		return stateWord(s) + ", local"
	}
	return stateWord(s)
}

// stateMeaning says what a state means for whoever holds the token.
func stateMeaning(s tokenbrokerv1.TokenState) string {
	switch s {
	case tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE:
		return "active: the upstream accepts it for at least the ttl"
	case tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT:
		return "suspect: it may have been replaced at the upstream; nothing is promised"
	case tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED:
		return "expired: there is no living token"
	default:
		return stateWord(s)
	}
}

// shortened shows the ends of a token, so that two can be told apart, and not enough of it to use it.
func shortened(value string) string {
	if value == "" {
		return "-"
	}
	if len(value) < 24 {
		return "..."
	}
	return value[:4] + "..." + value[len(value)-4:]
}

// localTime is a moment for people.
func localTime(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().In(now.Location()).Format("2006-01-02 15:04:05 -07:00")
}

// describe writes one token as a list of its fields.
func describe(w io.Writer, now time.Time, t *tokenbrokerv1.Token) error {
	out := newTable(w)
	out.row("name", t.GetName())
	out.row("version", itoa(int(t.GetVersion())))
	out.row("state", stateMeaning(t.GetState()))
	if t.GetLocal() {
		out.row("local", "this replica fetched it alone, cut off from etcd; good to use like any other")
	}
	out.row("ttl", life(t))
	if t.GetRefreshAfter() != nil {
		out.row("ask again", "in "+span(t.GetRefreshAfter().AsDuration()))
	}
	out.row("expires", localTime(now, t.GetExpireTime())+" ("+relative(now, t.GetExpireTime())+")")
	if t.GetAccessToken() != "" {
		out.row("token", shortened(t.GetAccessToken())+"  (whole: -o value)")
	}
	return out.Flush()
}
