package access

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// leastRSA is the shortest RSA key that is believed, in bits.
const leastRSA = 2048

// keySet is the public keys that an issuer signs with at one time. It does not change.
type keySet struct {
	keys   []jose.JSONWebKey
	digest [sha256.Size]byte // of the text that they were read from
}

// ParseKeys checks a JSON Web Key Set: that there is a key in it by which signatures can be verified, and no private one.
func ParseKeys(data []byte) error {
	_, err := parseKeys(data)
	return err
}

// parseKeys leaves out keys that are for other purposes, or of kinds that are not known, as RFC 7517 wants it.
func parseKeys(data []byte) (*keySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, errors.New("this is no JSON Web Key Set")
	}
	set := &keySet{digest: sha256.Sum256(data)}
	for _, text := range raw.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(text, &key); err != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		if _, symmetric := key.Key.([]byte); symmetric {
			continue
		}
		if !key.IsPublic() {
			return nil, errors.New("there is a private key in the JSON Web Key Set; whoever has it can pass for every caller: take it out, and give the issuer another")
		}
		if pub, ok := key.Key.(*rsa.PublicKey); ok && pub.N.BitLen() < leastRSA {
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys in the JSON Web Key Set can verify a signature of a kind that is taken", len(raw.Keys))
	}
	return set, nil
}

// verify returns what was signed, nil if none of the keys verifies it. named: there is a key of the name that the signature tells.
func (s *keySet) verify(jws *jose.JSONWebSignature) (payload []byte, named bool) {
	header := jws.Signatures[0].Header
	for i := range s.keys {
		key := &s.keys[i]
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		named = named || header.KeyID != ""
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, true
		}
	}
	return nil, named
}
