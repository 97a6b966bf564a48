package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// ServerCredentials are what a gRPC server takes connections with: TLS with c, or none if c is nil. The gateway's connection in memory has
// none in either case.
func ServerCredentials(c *Certificates) credentials.TransportCredentials {
	if c == nil {
		return nil
	}
	return serverCredentials{c}
}

type serverCredentials struct{ certificates *Certificates }

// authInfo is what is known of a connection with TLS.
type authInfo struct {
	credentials.TLSInfo
	certificates *Certificates
}

// ServerHandshake implements credentials.TransportCredentials. It blocks until the caller has done its part, or the connection's deadline,
// which gRPC sets.
func (s serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if inMemory(raw.LocalAddr()) {
		return raw, memoryInfo{}, nil
	}
	present := s.certificates.present.Load()
	conn := tls.Server(raw, present.grpc)
	err := conn.Handshake() //nolint:noctx // there is no context here; the connection has a deadline
	info := authInfo{certificates: s.certificates}
	info.State = conn.ConnectionState()
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	if err == nil && info.State.NegotiatedProtocol == "" {
		err = errNoALPN
	}
	if err != nil {
		s.certificates.failedHandshakes.Inc()
		raw.Close()
		return nil, nil, err
	}
	if len(info.State.VerifiedChains) == 0 {
		return conn, info, nil
	}
	own := &connection{
		Conn: conn, raw: raw, state: info.State, of: &s.certificates.connections, checked: present, expires: firstEnd(info.State.VerifiedChains[0]),
	}
	own.of.add(own)
	return own, info, nil
}

var errNoALPN = errors.New("the client does not say in the handshake (ALPN) that it speaks HTTP/2")

// memoryInfo is of the connection in memory.
type memoryInfo struct{}

// AuthType implements credentials.AuthInfo.
func (memoryInfo) AuthType() string { return "memory" }

// ClientHandshake implements credentials.TransportCredentials. These are a server's.
func (s serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("a server's credentials cannot connect")
}

// Info implements credentials.TransportCredentials.
func (s serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials. There is nothing in it that could be changed.
func (s serverCredentials) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials.
func (s serverCredentials) OverrideServerName(string) error { return nil }
