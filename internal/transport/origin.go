package transport

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// The metadata in which the gateway tells whose call it makes. They are believed on the connection in memory only.
const (
	peerKey        = "tokenbroker-origin-peer"
	certificateKey = "tokenbroker-origin-certificate-bin"
	clientKey      = "tokenbroker-origin-client"
	wrongKey       = "tokenbroker-origin-wrong"
)

// Forward returns a context for a call over the connection in memory that is made for somebody else. The bearer is not part of it: the
// header Authorization is handed on as it came.
func Forward(ctx context.Context, o access.Origin) context.Context {
	pairs := []string{peerKey, o.Peer}
	if o.Certificate != nil {
		pairs = append(pairs, certificateKey, string(o.Certificate.Raw))
	}
	if o.Client != "" {
		pairs = append(pairs, clientKey, o.Client)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// ForwardWrong is Forward for a caller who has shown a client's secret that is none: the call is refused, so that it is counted and recorded
// like every other that comes with wrong credentials.
func ForwardWrong(ctx context.Context, o access.Origin) context.Context {
	return metadata.AppendToOutgoingContext(Forward(ctx, o), wrongKey, "secret")
}

// OriginOf returns where the call of a handler's context comes from. Its errors are access.ErrUnauthenticated: what was brought cannot be
// credentials, or is not valid any longer. A certificate is looked at anew in each call, because connections outlive certificates and
// authorities; a handler of a stream does well to ask again before it hands out something new. It does not block. With an error, the origin
// has the Peer alone, if that is known, so that failures can be counted and recorded by address.
func OriginOf(ctx context.Context) (access.Origin, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return access.Origin{}, refused("the call has no connection")
	}
	arrived := directly
	if inMemory(p.LocalAddr) {
		arrived = forwarded
	}
	o, err := arrived(ctx, p)
	if err == nil {
		o.Bearer, err = bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	}
	if err != nil {
		return access.Origin{Peer: o.Peer}, err
	}
	return o, nil
}

// directly is the origin of a call that came over the network.
func directly(ctx context.Context, p *peer.Peer) (access.Origin, error) {
	o := access.Origin{Peer: p.Addr.String()}
	for _, key := range []string{peerKey, certificateKey, clientKey, wrongKey} {
		if len(metadata.ValueFromIncomingContext(ctx, key)) > 0 {
			return o, refused("the metadata " + key + " are for the gateway only")
		}
	}
	if secured, ok := p.AuthInfo.(authInfo); ok {
		var err error
		if o.Certificate, err = secured.certificates.caller(&secured.State); err != nil {
			return o, err
		}
	}
	return o, nil
}

// forwarded is the origin of a call that the gateway made. One that does not say for whom is nobody's.
func forwarded(ctx context.Context, _ *peer.Peer) (access.Origin, error) {
	from := metadata.ValueFromIncomingContext(ctx, peerKey)
	raw := metadata.ValueFromIncomingContext(ctx, certificateKey)
	client := metadata.ValueFromIncomingContext(ctx, clientKey)
	if len(from) != 1 || len(raw) > 1 || len(client) > 1 {
		return access.Origin{}, refused("the gateway did not say whose call this is")
	}
	o := access.Origin{Peer: from[0]}
	if len(metadata.ValueFromIncomingContext(ctx, wrongKey)) > 0 {
		return o, refused("this is no client's secret")
	}
	if len(client) == 1 {
		o.Client = client[0]
	}
	if len(raw) == 1 {
		var err error
		if o.Certificate, err = x509.ParseCertificate([]byte(raw[0])); err != nil {
			return o, refused("the gateway handed on a certificate that cannot be read")
		}
	}
	return o, nil
}

// bearer is the token in the values of the header Authorization.
func bearer(values []string) (token.Secret, error) {
	if len(values) == 0 {
		return token.Secret{}, nil
	}
	if len(values) > 1 {
		return token.Secret{}, refused("there is more than one header Authorization")
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return token.Secret{}, refused("the header Authorization is not of the form: Bearer TOKEN")
	}
	return token.NewSecret(text), nil
}

// inMemory reports whether a connection with this local address is the one that the gateway makes in memory. One of the network never has
// such an address: its network is tcp.
func inMemory(local net.Addr) bool { return local != nil && local.Network() == "bufconn" }

func refused(why string) error { return fmt.Errorf("%w: %s", access.ErrUnauthenticated, why) }
