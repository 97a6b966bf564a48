package access

import (
	"errors"
	"strings"
)

// The kinds of identities, by their beginnings. Anonymous is of a kind of its own.
const (
	KindSPIFFE = "spiffe://"
	KindDNS    = "dns:"
	KindCN     = "cn:"
	KindJWT    = "jwt:"
	KindToken  = "token:"
	KindClient = "client:"
)

// errKind says what an identity looks like.
var errKind = errors.New(`an identity begins with spiffe://, dns:, cn:, jwt:, token: or client:, or is "anonymous"`)

// ValidateIdentity checks that a text can be a caller's identity.
func ValidateIdentity(text string) error {
	if text == string(Anonymous) {
		return nil
	}
	for _, kind := range allKinds() {
		if len(text) > len(kind) && strings.HasPrefix(text, kind) {
			return nil
		}
	}
	return errKind
}

// KindsOf lists the kinds of identities that a pattern of a rule may match; none means that the pattern is of no use.
func KindsOf(pattern string) []string {
	if pattern == string(Anonymous) {
		return []string{pattern}
	}
	var kinds []string
	fixed, _, wild := strings.Cut(pattern, "*")
	for _, kind := range allKinds() {
		if wild && strings.HasPrefix(kind, fixed) || strings.HasPrefix(fixed, kind) && (wild || len(fixed) > len(kind)) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func allKinds() []string {
	return []string{KindSPIFFE, KindDNS, KindCN, KindJWT, KindToken, KindClient}
}
