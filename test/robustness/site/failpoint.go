package site

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/gofail/runtime"
)

// gofail turns the failpoints of one process on and off.
type gofail struct {
	address string // host:port

	mu  sync.Mutex
	set []string // those whose terms were set in the present life
}

// Failpoint has a failpoint of the process do what gofail's terms say ("panic", "sleep(5000)", "1*sleep(200)"), until the process
// ends; empty terms turn it off. It works on a test build.
func (b *Broker) Failpoint(ctx context.Context, name, terms string) error {
	b.gofail.mu.Lock()
	defer b.gofail.mu.Unlock()
	method, is := http.MethodPut, slices.Contains(b.set, name)
	if terms == "" {
		if !is {
			return nil
		}
		method = http.MethodDelete
	}
	_, err := b.host.request(ctx, method, "http://"+b.gofail.address+"/"+name, terms)
	// It was turned off already, if the answer to the request before was lost.
	if err != nil && (terms != "" || !strings.Contains(err.Error(), runtime.ErrDisabled.Error())) {
		return fmt.Errorf("setting failpoint %s of %s: %w", name, b.ID, err)
	}
	b.set = slices.DeleteFunc(b.set, func(other string) bool { return other == name })
	if terms != "" {
		b.set = append(b.set, name)
	}
	return nil
}

// FailpointCount returns how often a failpoint's terms have struck since they were set. It is 0 where none are set.
func (b *Broker) FailpointCount(ctx context.Context, name string) (int, error) {
	b.gofail.mu.Lock()
	is := slices.Contains(b.set, name)
	b.gofail.mu.Unlock()
	if !is {
		return 0, nil
	}
	text, err := b.host.request(ctx, http.MethodGet, "http://"+b.gofail.address+"/"+name+"/count", "")
	var count int
	if err == nil {
		_, err = fmt.Sscan(text, &count)
	}
	if err != nil {
		return 0, fmt.Errorf("asking failpoint %s of %s: %w", name, b.ID, err)
	}
	return count, nil
}

// forget: the failpoints of a new life do nothing.
func (g *gofail) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set = nil
}

// active returns the failpoints whose terms are set.
func (g *gofail) active() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.set)
}
