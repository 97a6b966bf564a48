// Package transport is how connections arrive: with TLS or without, how many, and what arrived with each call on them.
//
// # What is known of a call
//
// OriginOf says where a call comes from: the address, the certificate that TLS has verified, and the bearer of the header Authorization.
// Nothing of it is judged here beyond its form; that is package access's. There must be one Authorization at most: of two, one might be
// judged by one reader and the other by another.
//
// The gateway calls the gRPC server in its own process, over a connection in memory, and says for each call whose it is (Forward), in metadata.
// They are believed on a connection in memory only, which nobody else can make, and refused on every other. A call in memory without them is
// nobody's, and refused as well: what was forgotten must not become a caller of the network 127.0.0.1. The address is that of the
// connection to the gateway; X-Forwarded-For is not looked at, since anybody can write it.
//
// # TLS
//
// TLS 1.3 only. The pair of the server, and the authorities of its callers, are read anew when their files have changed: Run compares the
// contents every few seconds, which needs nothing of the file system and so works with Kubernetes' symbolic links and with NFS. All files
// are read together and used together, or not at all. Handshakes that begin afterwards use the new ones; connections that are open are not
// touched.
//
// There are no session tickets, so no connection begins without the caller's certificate being verified. One that has begun may last longer
// than the certificate, or than the trust in its authority. So the chain is looked at in each call, and each few seconds on each connection of
// gRPC, which is closed a little before the chain ends, and when it leads to none of the present authorities: streams end with it. A caller
// who has a newer certificate by then connects with that, and sees a connection that broke. Over HTTP the request is refused and the connection
// closed; a stream of events goes on until the call behind it ends, which is what the maximum age of the connection in memory bounds.
//
// # Doors
//
// A Door bounds the connections of a listener, in all and by address, and closes what is beyond at once: those that are open are not
// disturbed by those who knock. How long a connection may take for its handshake, and be idle, is set where it is served.
package transport
