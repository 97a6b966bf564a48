package store

// Sealer protects values at rest. The key under which a value is stored goes into the seal, so that a value that was moved to
// another key does not open.
type Sealer interface {
	Seal(value []byte, key string) ([]byte, error)
	Open(sealed []byte, key string) ([]byte, error)
}

// Plain protects nothing: whoever can read etcd can read the tokens.
type Plain struct{}

// Seal returns the value as it is.
func (Plain) Seal(value []byte, _ string) ([]byte, error) { return value, nil }

// Open returns the value as it is.
func (Plain) Open(sealed []byte, _ string) ([]byte, error) { return sealed, nil }
