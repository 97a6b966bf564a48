package snapshot

// MaxSize is the bound of what is read.
const MaxSize = maxSize

// Checksum is what an envelope states, for tests that make envelopes of their own.
var Checksum = checksum
