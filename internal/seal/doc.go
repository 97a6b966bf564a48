// Package seal protects tokens at rest: what stands in etcd and in snapshots is encrypted with a Keyset, for the key under which it
// stands. It is the store's Sealer.
//
// # The form
//
// A sealed value is Tink's: a byte 1, the id of the key in four bytes (big-endian), a random nonce of 12, the ciphertext, and a tag of 16.
// The cipher is AES-256-GCM. The key under which the value stands is the associated data, so that a value that was moved does not open.
// Nonces are random: one key is good for 2^32 values, which a cluster that writes one a second reaches after 136 years.
//
// A token consists of visible characters and so never begins with a byte 1. By this, what is sealed and what is not are told apart, with
// and without a keyset: nobody takes a sealed value for a token.
//
// # The keyset
//
// A Keyset is a Tink keyset: keys, each with an id, one of them the primary. All enabled keys open; the primary alone seals. That is what
// lets keys be replaced under a running cluster: a key is first added everywhere, then it becomes the primary, then what is old is sealed
// anew, then the old key is disabled (see docs/KEYS.md). Keysets are not changed in place: each step makes a new one.
//
// Its serialized form is Tink's JSON, in the clear: whoever has the file or the variable has the keys. Tink would encrypt it with a key
// in a key management service (KMS). That is not done yet: such a service must answer whenever a replica starts, and the replica needs
// credentials for it, which stand beside it as a keyset does. Where a KMS or a vault is at hand, let it write the file that the replica reads
// (Kubernetes secrets with encryption at rest, a CSI driver, systemd-creds). The form leaves room for it: an encrypted keyset is another
// JSON object, which this program refuses by saying so.
//
// # What does not open
//
// An error of Open is an *OpenError. It tells apart what has different remedies: a key that is not there, one that is disabled, a value
// that was never sealed, and a value that was moved from elsewhere or changed. The last two cannot be told from each other: the tag is wrong
// in either case.
//
// # What it does not do
//
// It hides values, and nothing else of a record. It notices another key's value in a record, and not an older value of the same key, nor
// other fields that were changed: whoever can write to etcd can end the service, and by claiming a longer life make callers use a dead
// token, but can neither read a token nor bring one of theirs in.
package seal
