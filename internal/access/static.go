package access

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// StaticToken is a caller who proves itself by a secret of 256 random bits, of which only the hash is known. So much randomness needs no
// slow hash.
type StaticToken struct {
	// Name is unique; the identity is "token:" and it.
	Name   string
	SHA256 [sha256.Size]byte
}

// CallerName is what callers by static tokens, issuers and clients may be called. Names are for people, and stand in logs.
var CallerName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// LineError is what is wrong with a line of a file of static tokens. It does not quote the line, which may hold a secret.
type LineError struct {
	Line         int // from 1
	What, Remedy string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s; %s", e.Line, e.What, e.Remedy) }

// ParseTokens reads a file of static tokens: a name and the SHA-256 of a secret in hexadecimal digits a line, separated by blanks. Empty
// lines and those that begin with # do not count. The error joins a *LineError for everything that is wrong.
func ParseTokens(data []byte) ([]StaticToken, error) {
	var (
		tokens []StaticToken
		wrong  []error
		names  = map[string]int{}
		hashes = map[[sha256.Size]byte]int{}
		lines  = bufio.NewScanner(bytes.NewReader(data))
	)
	lines.Buffer(nil, len(data)+1)
	for n := 1; lines.Scan(); n++ {
		fail := func(what, remedy string) { wrong = append(wrong, &LineError{n, what, remedy}) }
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			fail(fmt.Sprintf("it has %d words", len(fields)), "write a name and a hash, as broker caller create prints them")
			continue
		}
		t := StaticToken{Name: fields[0]}
		raw, err := hex.DecodeString(fields[1])
		switch {
		case !CallerName.MatchString(t.Name):
			fail("this cannot be a caller's name", "write letters, digits, '.', '_' and '-'")
			continue
		case err != nil || len(raw) != sha256.Size:
			fail("the second word is not a SHA-256 in 64 hexadecimal digits", "write the hash that broker caller create prints")
			continue
		}
		copy(t.SHA256[:], raw)
		if at, taken := names[t.Name]; taken {
			fail(fmt.Sprintf("line %d has the same name", at), "give each caller a name of its own")
		} else if at, taken := hashes[t.SHA256]; taken {
			fail(fmt.Sprintf("line %d has the same hash", at), "make a secret for each caller")
		} else {
			names[t.Name], hashes[t.SHA256] = n, n
			tokens = append(tokens, t)
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return tokens, nil
}
