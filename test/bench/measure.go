package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// load is how many callers ask at once, each for its next answer when it has the last.
type load struct{ connections, callers int }

func (l load) String() string {
	return fmt.Sprintf("%d × %d", l.connections, l.callers)
}

// loads are two ends of what a broker meets: many clients that ask one thing at a time, where a request costs most because gRPC can
// put nothing together; and a few clients that ask much, where it costs least, and a handler's own share is greatest.
var loads = []load{{connections: 16, callers: 1}, {connections: 2, callers: 32}}

// order is who takes which turn in a round. What the machine does meanwhile, if it grows or shrinks steadily, strikes all alike.
var order = [...]string{rolePlain, roleEmpty, roleBroker, roleBroker, roleEmpty, rolePlain}

// sample is what one turn showed.
type sample struct {
	cpu    float64 // microseconds of the server, per request
	allocs float64 // of the server, per request
	rate   float64 // requests per second
}

func (s sample) mean(o sample) sample {
	return sample{cpu: (s.cpu + o.cpu) / 2, allocs: (s.allocs + o.allocs) / 2, rate: (s.rate + o.rate) / 2}
}

// result compares the broker with an empty handler under one load.
type result struct {
	load     load
	baseline string // the role of the empty handler
	cpu      spread // broker / empty
	rate     spread // broker / empty
	allocs   spread // broker - empty
	base     spread // microseconds of the empty handler's server per request
}

// warmUp is how many requests a server gets before it is measured.
const warmUp = 10000

// measure runs all servers and has them take turns.
func measure(ctx context.Context, l load, rounds, requests int) ([]result, error) {
	servers := map[string]*process{}
	defer func() {
		for _, p := range servers {
			_ = p.close() // it has said all it had to say
		}
	}()
	for _, role := range order[:len(order)/2] {
		p, err := start(ctx, role, l.connections)
		if err != nil {
			return nil, fmt.Errorf("starting the %s server: %w", role, err)
		}
		servers[role] = p
		if _, err := p.turn(ctx, l, warmUp); err != nil {
			return nil, err
		}
	}
	if err := sameBytes(ctx, servers[roleEmpty], servers[roleBroker]); err != nil {
		return nil, err
	}
	seen := map[string][]sample{} // by role, one a round
	for range rounds {
		var turns [len(order)]sample
		for i, role := range order {
			s, err := servers[role].turn(ctx, l, requests)
			if err != nil {
				return nil, err
			}
			turns[i] = s
		}
		for i, role := range order[:len(order)/2] {
			seen[role] = append(seen[role], turns[i].mean(turns[len(order)-1-i]))
		}
	}
	return []result{
		compare(l, roleEmpty, seen[roleEmpty], seen[roleBroker]),
		compare(l, rolePlain, seen[rolePlain], seen[roleBroker]),
	}, nil
}

// compare sets the broker's samples beside a baseline's, round by round.
func compare(l load, baseline string, empty, broker []sample) result {
	over := func(figure func(e, b sample) float64) spread {
		figures := make([]float64, len(empty))
		for i := range empty {
			figures[i] = figure(empty[i], broker[i])
		}
		return spreadOf(figures)
	}
	return result{
		load: l, baseline: baseline,
		cpu:    over(func(e, b sample) float64 { return b.cpu / e.cpu }),
		rate:   over(func(e, b sample) float64 { return b.rate / e.rate }),
		allocs: over(func(e, b sample) float64 { return b.allocs - e.allocs }),
		base:   over(func(e, _ sample) float64 { return e.cpu }),
	}
}

// sameBytes checks that both servers send answers of one size, but for a few bytes that depend on the moment.
func sameBytes(ctx context.Context, a, b *process) error {
	var sizes [2]int
	for i, p := range []*process{a, b} {
		answer, err := p.clients[0].GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: tokenName})
		if err != nil {
			return err
		}
		sizes[i] = proto.Size(answer)
	}
	if diff := sizes[0] - sizes[1]; diff < -4 || diff > 4 {
		return fmt.Errorf("the answers differ in size: %d and %d bytes", sizes[0], sizes[1])
	}
	return nil
}

// process is a server process and the connections to it.
type process struct {
	cmd     *exec.Cmd
	ask     io.WriteCloser
	told    *bufio.Reader
	conns   []*grpc.ClientConn
	clients []tokenbrokerv1.TokenBrokerServiceClient
}

func start(ctx context.Context, role string, connections int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, "-serve", role)}
	p.cmd.Stderr = os.Stderr
	if p.ask, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.told = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	address, err := p.told.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	for range connections {
		conn, err := grpc.NewClient(strings.TrimSpace(address), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.conns = append(p.conns, conn)
		p.clients = append(p.clients, tokenbrokerv1.NewTokenBrokerServiceClient(conn))
	}
	return p, nil
}

// close ends the process and waits for it.
func (p *process) close() error {
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	_ = p.ask.Close()
	return p.cmd.Wait()
}

// usage asks the process what it has used so far.
func (p *process) usage() (usage, error) {
	if _, err := io.WriteString(p.ask, "\n"); err != nil {
		return usage{}, err
	}
	line, err := p.told.ReadBytes('\n')
	if err != nil {
		return usage{}, err
	}
	var u usage
	err = json.Unmarshal(line, &u)
	return u, err
}

// turn sends that many requests and says what one of them cost.
func (p *process) turn(ctx context.Context, l load, requests int) (sample, error) {
	before, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	share := max(1, requests/(l.connections*l.callers))
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, client := range p.clients {
		for range l.callers {
			group.Go(func() error {
				req := &tokenbrokerv1.GetTokenRequest{Name: tokenName}
				for range share {
					if _, err := client.GetToken(ctx, req); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	took := time.Since(begin)
	after, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	n := share * l.connections * l.callers
	return sample{
		cpu:    float64(after.CPU-before.CPU) / float64(time.Microsecond) / float64(n),
		allocs: float64(after.Allocs-before.Allocs) / float64(n),
		rate:   float64(n) / took.Seconds(),
	}, nil
}
