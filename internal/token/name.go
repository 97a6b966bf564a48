package token

import (
	"errors"
	"fmt"
)

// MaxNameLength is the longest name of a token, in bytes.
const MaxNameLength = 63

// ErrBadName is the cause of every error of ValidateName.
var ErrBadName = errors.New("bad token name")

// ValidateName checks that a name is 1 to 63 of a-z, 0-9, '.', '_' and '-', and starts and ends with a letter or digit. Names are
// parts of etcd keys, of metric labels and of URL paths; this alphabet needs no escaping in any of them.
func ValidateName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrBadName)
	}
	if len(name) > MaxNameLength {
		return fmt.Errorf("%w: %d bytes long, at most %d are allowed", ErrBadName, len(name), MaxNameLength)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("%w: %q at position %d; allowed are a-z, 0-9, '.', '_' and '-'", ErrBadName, name[i], i+1)
		}
	}
	if !alphanumeric(name[0]) || !alphanumeric(name[len(name)-1]) {
		return fmt.Errorf("%w: %q must start and end with a letter or digit", ErrBadName, name)
	}
	return nil
}

func nameByte(b byte) bool { return alphanumeric(b) || b == '.' || b == '_' || b == '-' }

func alphanumeric(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
