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
	return fmt.Sprintf("%d connections with %d callers each", l.connections, l.callers)
}

// loads are two ends of what a broker meets: many clients that ask one thing at a time, where a request costs most because gRPC can
// put nothing together; and a few clients that ask much, where it costs least, and a handler's own share is greatest.
var loads = []load{{connections: 16, callers: 1}, {connections: 2, callers: 32}}

// order is who takes which turn in a round: the empty server (0), the broker (1), the broker, the empty server. What the machine does
// meanwhile, if it grows or shrinks steadily, strikes both alike.
var order = [...]int{0, 1, 1, 0}

// sample is what one turn showed.
type sample struct {
	cpu    float64 // microseconds of the server, per request
	allocs float64 // of the server, per request
	rate   float64 // requests per second
}

func (s sample) mean(o sample) sample {
	return sample{cpu: (s.cpu + o.cpu) / 2, allocs: (s.allocs + o.allocs) / 2, rate: (s.rate + o.rate) / 2}
}

// result compares the servers under one load. Ratios are broker / empty, allocs is broker - empty.
type result struct {
	load                  load
	cpu, allocs, rate     spread
	emptyCPU, emptyAllocs spread
}

// warmUp is how many requests a server gets before it is measured.
const warmUp = 10000

// measure runs both servers and has them take turns.
func measure(ctx context.Context, l load, rounds, requests int) (_ result, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var both [2]*process
	for i, role := range []string{roleEmpty, roleBroker} {
		p, err := start(ctx, role, l.connections)
		if err != nil {
			return result{}, fmt.Errorf("starting the %s server: %w", role, err)
		}
		defer p.close()
		both[i] = p
		if _, err := p.turn(ctx, l, warmUp); err != nil {
			return result{}, err
		}
	}
	if err := sameBytes(ctx, both[0], both[1]); err != nil {
		return result{}, err
	}

	var cpu, allocs, rate, emptyCPU, emptyAllocs []float64
	for range rounds {
		var turns [len(order)]sample
		for i, which := range order {
			if turns[i], err = both[which].turn(ctx, l, requests); err != nil {
				return result{}, err
			}
		}
		empty, broker := turns[0].mean(turns[3]), turns[1].mean(turns[2])
		cpu = append(cpu, broker.cpu/empty.cpu)
		allocs = append(allocs, broker.allocs-empty.allocs)
		rate = append(rate, broker.rate/empty.rate)
		emptyCPU = append(emptyCPU, empty.cpu)
		emptyAllocs = append(emptyAllocs, empty.allocs)
	}
	return result{
		load: l, cpu: spreadOf(cpu), allocs: spreadOf(allocs), rate: spreadOf(rate),
		emptyCPU: spreadOf(emptyCPU), emptyAllocs: spreadOf(emptyAllocs),
	}, nil
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
	return u, json.Unmarshal(line, &u)
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
