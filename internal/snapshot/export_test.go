package snapshot

// Replace is how a file is written, for tests that kill the writer, and MaxSize the bound of what is read.
var Replace = replace

const MaxSize = maxSize

// Checksum is what an envelope states, for tests that make envelopes of their own.
var Checksum = checksum
