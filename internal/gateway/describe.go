package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// tokenPath is the one path whose answers have an ETag.
const tokenPath = "/v1/tokens/{name}"

// describe is called before a message is answered. An answer with a token tells its life in headers, in whole seconds. GET of an ACTIVE
// token also has an ETag, and is answered 304 to a caller who holds that value; then nothing but the headers is sent.
//
// So 304 means: what you hold is ACTIVE at this moment, for Token-Ttl longer. A SUSPECT token is sent whole, whatever the caller holds.
func describe(_ context.Context, w http.ResponseWriter, message proto.Message) error {
	carrier, ok := message.(interface{ GetToken() *tokenbrokerv1.Token })
	if !ok {
		return nil
	}
	a, t := answering(w), carrier.GetToken()
	a.Header().Set("Token-Ttl", seconds(t.GetTtl()))
	a.Header().Set("Token-Refresh-After", seconds(t.GetRefreshAfter()))
	if a.path != tokenPath || t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		return nil
	}
	tag := tagOf(t)
	a.Header().Set("Etag", tag)
	if holds(a.asked.Header.Values("If-None-Match"), tag) {
		a.WriteHeader(http.StatusNotModified) // and a body is not allowed any more: grpc-gateway knows that
	}
	return nil
}

// tagOf is the version, and a little of the value's hash: a store that was restored from a copy may give a version to another value.
func tagOf(t *tokenbrokerv1.Token) string {
	sum := sha256.Sum256([]byte(t.GetAccessToken()))
	return fmt.Sprintf(`"%d-%x"`, t.GetVersion(), sum[:6])
}

// holds reports whether one of the listed tags is the given one. "*" is not: it does not say what the caller holds.
func holds(lists []string, tag string) bool {
	for _, list := range lists {
		for held := range strings.SplitSeq(list, ",") {
			if strings.TrimPrefix(strings.TrimSpace(held), "W/") == tag {
				return true
			}
		}
	}
	return false
}

// seconds rounds down.
func seconds(d *durationpb.Duration) string { return strconv.FormatInt(d.GetSeconds(), 10) }
