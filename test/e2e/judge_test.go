package e2e_test

import (
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// everyone is the name of callers that spread their calls over all replicas. Those may be ahead of each other, so that such a caller
// can see versions go back; others begin with it.
const everyone = "all"

// judge holds answers against what really was: no call failed; every token was ACTIVE, and alive at WeChat for the life that was
// promised, counted from the sending of the call; a version has one value, and no replica went back in versions. WeChat's record is
// final only for what is past, so the judge comes last in a test.
//
// Excused are promises on the tokens given: the test killed them itself, and nobody could know.
func judge(t *testing.T, w *wechattest.WeChat, answers []answer, killed ...string) {
	t.Helper()
	newCourt(w, killed...).judge(t, answers)
}

// court is judge with a choice.
type court struct {
	wechat *wechattest.WeChat
	killed map[string]bool
	// suspect allows answers that promise nothing.
	suspect bool

	values map[version]string
	newest map[[2]string]int64 // by caller and name
}

type version struct {
	name   string
	number int64
}

func newCourt(w *wechattest.WeChat, killed ...string) *court {
	c := &court{wechat: w, killed: map[string]bool{}, values: map[version]string{}, newest: map[[2]string]int64{}}
	for _, value := range killed {
		c.killed[value] = true
	}
	return c
}

func (c *court) judge(t *testing.T, answers []answer) {
	t.Helper()
	if len(answers) == 0 {
		t.Error("nobody asked")
	}
	wrong := 0
	for _, a := range answers {
		complaint := c.complaint(a)
		if complaint == "" {
			continue
		}
		if wrong++; wrong <= 10 {
			t.Errorf("%s, asked for %s at %s, answered after %v: %s", a.caller, a.name, a.sent.Format("15:04:05.000"), a.received.Sub(a.sent), complaint)
		}
	}
	if wrong > 10 {
		t.Errorf("%d of %d answers were wrong", wrong, len(answers))
	}
}

// complaint says what is wrong with an answer; "" if nothing.
func (c *court) complaint(a answer) string {
	if a.err != nil {
		return "it failed: " + a.err.Error()
	}
	value, number, caller := a.token.GetAccessToken(), version{a.name, a.token.GetVersion()}, [2]string{a.caller, a.name}
	known, seen := c.values[number]
	switch {
	case value == "" || number.number <= 0:
		return "there is no token in it"
	case seen && known != value:
		return "this version had another value"
	case c.newest[caller] > number.number && !strings.HasPrefix(a.caller, everyone):
		return "the version went back"
	}
	c.values[number], c.newest[caller] = value, number.number

	ttl := a.token.GetTtl().AsDuration()
	dies, issued := c.wechat.DiesAt(value)
	switch state := a.token.GetState(); {
	case !issued:
		return "WeChat has never issued it"
	case state == tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT && c.suspect && ttl == 0:
		return ""
	case state != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE:
		return "it is " + state.String()
	case ttl <= 0:
		return "it is active, and promises nothing"
	case a.sent.Add(ttl).After(dies) && !c.killed[value]:
		return "it promised " + ttl.String() + ", which was " + a.sent.Add(ttl).Sub(dies).String() + " too long"
	}
	return ""
}
