package tokenbroker

import (
	"context"

	"google.golang.org/grpc/credentials"
)

// PerRPCCredentials sends the token as a bearer token with every call of a gRPC connection, over encrypted connections only.
func (s *Source) PerRPCCredentials() credentials.PerRPCCredentials { return bearerCredentials{s} }

type bearerCredentials struct{ source *Source }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearerCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	t, err := b.source.Token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + t.Value()}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearerCredentials) RequireTransportSecurity() bool { return true }
