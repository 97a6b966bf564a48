package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// broker is a process of the program.
type broker struct {
	proc
	// good is how the well-behaved reach it, and bad how the attacker does.
	good, bad target

	cmd   *exec.Cmd
	log   log
	ended chan struct{}
}

// startTime is how long a broker may take until it hands out tokens.
const startTime = time.Minute

// start starts a broker, and returns when it hands out both tokens.
func (s *site) start(ctx context.Context) (*broker, error) {
	file := filepath.Join(s.dir, "broker.yaml")
	if err := os.WriteFile(file, []byte(s.yaml()), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	b := &broker{cmd: exec.CommandContext(ctx, s.program, "serve", "--config", file), ended: make(chan struct{})}
	b.cmd.Env = []string{"APP_SECRET=" + appSecret, "TMPDIR=" + s.dir}
	b.cmd.Stderr = &b.log
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait() // ProcessState has it
	}()
	b.proc = procOf(b.cmd.Process.Pid)
	if err := b.await(ctx, s); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

// listens finds the addresses in the log.
var listens = regexp.MustCompile(`msg=starting .* grpc=(\S+) .*gateway=(\S+) .*metrics=(\S+)`)

func (b *broker) await(ctx context.Context, s *site) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var found []string
	for found == nil {
		if !b.running() || !pause(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the broker does not start:\n%s", b.log.tail())
		}
		found = listens.FindStringSubmatch(b.log.text())
	}
	w := way{GRPC: found[1], HTTP: found[2], Pages: found[3], CA: s.authority.file, From: "127.0.0.1"}
	b.good = target{way: w, Still: stillToken, Moving: movingToken, AppID: appID(stillToken)}
	b.good.As = s.good
	b.bad = b.good
	b.bad.As, b.bad.Bearers = s.bad, s.issuer.bad()
	b.bad.way = b.bad.from(0)

	conn, err := b.good.grpc()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, name := range []string{stillToken, movingToken} {
		for { // with a min_ttl the broker waits until there is a token
			_, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx,
				&tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(time.Millisecond)})
			if err == nil {
				break
			}
			if !b.running() || !pause(ctx, 50*time.Millisecond) {
				return fmt.Errorf("the broker hands out no token: %w\n%s", err, b.log.tail())
			}
		}
	}
	return nil
}

func (b *broker) running() bool {
	select {
	case <-b.ended:
		return false
	default:
		return true
	}
}

// stop has the broker shut down, and fails if it does not in good order.
func (b *broker) stop() error {
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-b.ended:
	case <-time.After(time.Minute):
		_ = b.cmd.Process.Kill()
		<-b.ended
	}
	if !b.cmd.ProcessState.Success() {
		return fmt.Errorf("the broker ended with %v:\n%s", b.cmd.ProcessState, b.log.tail())
	}
	return nil
}

// log is what a process wrote, the first and the last of it.
type log struct {
	mu           sync.Mutex
	first, later bytes.Buffer
}

const logPart = 64 << 10

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first.Len() < logPart {
		return l.first.Write(p)
	}
	l.later.Next(max(l.later.Len()+len(p)-logPart, 0))
	return l.later.Write(p)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first.String() + l.later.String()
}

func (l *log) tail() string {
	text := l.text()
	return text[max(0, len(text)-4096):]
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
