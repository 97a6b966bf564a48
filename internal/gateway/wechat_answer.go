package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// errcode is a refusal in WeChat's manner.
type errcode struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

// Error returns the message.
func (e *errcode) Error() string { return e.Message }

// The refusals that a request itself may meet. Codes and texts are WeChat's.
var (
	errGrantType  error = &errcode{40002, "invalid grant_type"}
	errAppID      error = &errcode{40013, "invalid appid"}
	errURL        error = &errcode{40066, "invalid url"}
	errSecret     error = &errcode{40125, "invalid appsecret"}
	errNoAppID    error = &errcode{41002, "appid missing"}
	errNoSecret   error = &errcode{41004, "appsecret missing"}
	errGetOnly    error = &errcode{43001, "require GET method"}
	errPostOnly   error = &errcode{43002, "require POST method"}
	errDataFormat error = &errcode{47001, "data format error"}
)

// busy is what WeChat answers when it is not the caller's fault and may pass.
const busy = -1

// passedOn are the codes of WeChat's last refusal that a caller is told when there is no token. They mean to the caller what they mean to
// the broker. Others would put the blame on what the caller sent, or start a refresh that helps nobody: 40001, 40013 and 40125 are about
// the AppSecret that the broker has.
var passedOn = map[string]*errcode{
	"40164": {40164, "invalid ip, not in whitelist"},
	"40243": {40243, "appsecret has been frozen"},
	"45009": {45009, "reach max api daily quota limit"},
	"45011": {45011, "api minute-quota reach limit must slower retry next minute"},
	"50004": {50004, "api forbidden"},
	"50007": {50007, "account frozen"},
	"61004": {61004, "access clientip is not registered, not in ip-white-list"},
	"61024": {61024, "only the platform may get this token"},
	"89501": {89501, "this ip needs confirmation by the administrator"},
	"89503": {89503, "this ip is waiting for confirmation by the administrator"},
	"89506": {89506, "this ip was refused twice by the administrator, retry in 24 hours"},
	"89507": {89507, "this ip was refused by the administrator, retry in 1 hour"},
}

// callerLimit is the reason of the replica's own refusals of callers who ask too often.
const callerLimit = "CALLER_LIMIT"

// refused makes an errcode of any error. An application that the client may not have is one that does not exist, so that nobody learns which
// do: 40013, and not 48001, which SDKs take for a right that is missing at WeChat.
func refused(err error) *errcode {
	if own, ok := errors.AsType[*errcode](err); ok {
		return own
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.PermissionDenied, codes.NotFound:
		return &errcode{40013, "invalid appid"}
	case codes.Unauthenticated:
		return &errcode{40125, "invalid appsecret"}
	default:
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if info.GetReason() == callerLimit {
				return passedOn["45011"] // to a caller it is all the same whose limit it is: slower
			}
			if upstream := passedOn[info.GetMetadata()["upstream_code"]]; upstream != nil {
				return upstream
			}
		}
	}
	return &errcode{busy, "system error: " + st.Message()}
}

// answerWeChat answers with an error. Like WeChat's, each has an id of its own at its end, by which the log is searched.
func (g *Gateway) answerWeChat(a *answer, err error) {
	e := *refused(err)
	rid := fmt.Sprintf("%08x-%08x-%08x", uint32(time.Now().Unix()), rand.Uint32(), rand.Uint32())
	g.log.Debug("compatible request refused", "rid", rid, "path", a.path, "errcode", e.Code, "errmsg", e.Message)
	e.Message += " rid: " + rid
	g.metrics.wechat.WithLabelValues(a.path, strconv.Itoa(e.Code)).Inc()
	a.sendWeChat(e)
}

// answerToken answers with a token and its true remaining life.
func (g *Gateway) answerToken(a *answer, t *tokenbrokerv1.Token) {
	g.metrics.wechat.WithLabelValues(a.path, "0").Inc()
	a.sendWeChat(struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}{t.GetAccessToken(), t.GetTtl().GetSeconds()})
}

// sendWeChat sends JSON without a line break at its end, under WeChat's own content type.
func (a *answer) sendWeChat(v any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // two fields, of text and number
	a.Header().Set("Content-Type", "application/json; encoding=utf-8")
	_, _ = a.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}
