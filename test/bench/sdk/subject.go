package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const tokenName = "shop.stable"

// value is as long as WeChat's tokens are.
var value = strings.Repeat("x", 157)

// subject is one way to have a token at hand.
type subject struct {
	Name    string
	limited bool // by what the SDK promises
	// read reads so often, and returns the sum of the lengths of what it got.
	read func(times int) (int, error)
}

// prepare returns what is measured, and a description of the Redis server. end is to be called in any case.
func prepare(ctx context.Context, redisServer string) (subjects []subject, server string, end func(), err error) {
	var ends []func()
	end = func() {
		for i := range ends {
			ends[len(ends)-1-i]()
		}
	}
	address, stop, err := startBroker(ctx)
	if err != nil {
		return nil, "", end, err
	}
	ends = append(ends, stop)
	client, err := tokenbroker.New(ctx, address, tokenbroker.WithTokens(tokenName))
	if err != nil {
		return nil, "", end, err
	}
	ends = append(ends, func() { _ = client.Close() })
	redisAddress, server, stop, err := startRedis(ctx, redisServer)
	if err != nil {
		return nil, "", end, err
	}
	ends = append(ends, stop)
	db := redis.NewClient(&redis.Options{Addr: redisAddress})
	ends = append(ends, func() { _ = db.Close() })
	if err := fill(ctx, db); err != nil {
		return nil, "", end, err
	}
	source := client.Source(tokenName)
	held := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: value, Expiry: time.Now().Add(time.Hour)}, nobody{})
	base := time.Now()
	return []subject{
		{Name: "`time.Since` alone", read: func(times int) (size int, err error) {
			for range times {
				if time.Since(base) >= 0 {
					size += len(value)
				}
			}
			return size, nil
		}},
		{Name: "SDK, `Source.Token`", limited: true, read: func(times int) (size int, err error) {
			for range times {
				t, err := source.Token(ctx)
				if err != nil {
					return 0, err
				}
				size += len(t.Value())
			}
			return size, nil
		}},
		{Name: "SDK, `Client.Token` by name", limited: true, read: func(times int) (size int, err error) {
			for range times {
				t, err := client.Token(ctx, tokenName)
				if err != nil {
					return 0, err
				}
				size += len(t.Value())
			}
			return size, nil
		}},
		{Name: "`oauth2.ReuseTokenSource`", read: func(times int) (size int, err error) {
			for range times {
				t, err := held.Token()
				if err != nil {
					return 0, err
				}
				size += len(t.AccessToken)
			}
			return size, nil
		}},
		{Name: "go-redis `GET`", read: func(times int) (size int, err error) {
			for range times {
				got, err := db.Get(ctx, tokenName).Result()
				if err != nil {
					return 0, err
				}
				size += len(got)
			}
			return size, nil
		}},
	}, server, end, nil
}

// nobody has no other token.
type nobody struct{}

// Token implements oauth2.TokenSource.
func (nobody) Token() (*oauth2.Token, error) { return nil, errors.New("the token has expired") }

// broker hands out one token and no news.
type broker struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
}

// GetToken implements the method of that name.
func (broker) GetToken(context.Context, *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	return &tokenbrokerv1.GetTokenResponse{Token: &tokenbrokerv1.Token{
		Name: tokenName, AccessToken: value, Version: 1, Ttl: durationpb.New(2 * time.Hour), State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE,
		RefreshAfter: durationpb.New(time.Hour),
	}}, nil
}

func startBroker(ctx context.Context) (address string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer()
	tokenbrokerv1.RegisterTokenBrokerServiceServer(server, broker{})
	serving := health.NewServer()
	serving.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, serving)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends by Stop; if it ends before, the client says so
	}()
	return listener.Addr().String(), func() {
		server.Stop()
		<-ended
	}, nil
}

// startRedis starts a Redis server without persistence, or an imitation if there is no such program.
func startRedis(ctx context.Context, program string) (address, description string, stop func(), err error) {
	path, err := exec.LookPath(program)
	if err != nil {
		imitation := miniredis.NewMiniRedis()
		if err := imitation.Start(); err != nil {
			return "", "", nil, err
		}
		return imitation.Addr(), "no Redis, but miniredis, which imitates it in the measuring process: a real one is faster", imitation.Close, nil
	}
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", "", nil, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", nil, err
	}
	address = listener.Addr().String()
	_, port, _ := net.SplitHostPort(address) // is one
	listener.Close()
	dir, err := os.MkdirTemp("", "bench-redis-")
	if err != nil {
		return "", "", nil, err
	}
	cmd := exec.CommandContext(ctx, path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return "", "", nil, err
	}
	fields := strings.Fields(string(version)) // Redis server v=7.0.15 sha=...
	return address, "Redis " + strings.TrimPrefix(fields[min(2, len(fields)-1)], "v=") + " in a process of its own, without persistence, over loopback TCP", func() {
		_ = cmd.Process.Kill() // fails if it has ended
		_ = cmd.Wait()         // it was killed
		_ = os.RemoveAll(dir)
	}, nil
}

// fill writes the token. The server may need a moment until it listens; the client tries again and again.
func fill(ctx context.Context, db *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.Set(ctx, tokenName, value, time.Hour).Err()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("writing the token to Redis: %w", err)
		}
	}
}
