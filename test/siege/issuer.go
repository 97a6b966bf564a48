package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// issuer is whose JWTs the broker believes.
type issuer struct {
	// keys is the file with its public key.
	keys string
	// forged are signed by another key of the same id; expired were good.
	forged, expired string
}

const (
	issuerURL = "https://issuer.siege.example"
	audience  = "siege"
	keyID     = "1"
)

func newIssuer(dir string) (*issuer, error) {
	i := &issuer{keys: filepath.Join(dir, "jwks.json")}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: own.Public(), KeyID: keyID, Algorithm: "ES256", Use: "sig"}}})
	if err == nil {
		err = os.WriteFile(i.keys, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the issuer's keys: %w", err)
	}
	if i.forged, err = sign(other, time.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	i.expired, err = sign(own, time.Now().Add(-time.Hour))
	return i, err
}

// bad are the bearers that an attacker may have.
func (i *issuer) bad() map[string]string {
	return map[string]string{"garbage": "e" + rand.Text() + rand.Text(), "garbage in three parts": garbage(), "forged": i.forged, "expired": i.expired}
}

// garbage looks like a JWT to whoever only counts the dots.
func garbage() string {
	part := func() string { return base64.RawURLEncoding.EncodeToString([]byte(rand.Text())) }
	return part() + "." + part() + "." + part()
}

// sign makes a JWT that ends at a time, and is good but for that.
func sign(key *ecdsa.PrivateKey, until time.Time) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", keyID))
	if err != nil {
		return "", fmt.Errorf("making a signer: %w", err)
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuerURL, Subject: "bad", Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(until),
		IssuedAt: jwt.NewNumericDate(until.Add(-2 * time.Hour)),
	}).Serialize()
}
