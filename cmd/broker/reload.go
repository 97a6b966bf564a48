package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
)

// reloader applies a changed configuration to a running replica: its tokens, clients, authentication, policy and limits. Everything else needs a
// restart (restartFor), which costs nobody a call when there are several replicas.
type reloader struct {
	// load reads the configuration anew.
	load func(dry bool) (*config, problems, error)
	// started is what the replica was started with, and so what runs of all that a reload does not apply.
	started *config
	log     *slog.Logger
	// hangups brings one signal for each reload that is wanted.
	hangups <-chan os.Signal
}

// run reloads at each signal, until ctx ends.
func (l *reloader) run(ctx context.Context, r *replica) {
	for {
		select {
		case <-l.hangups:
			l.reload(r)
		case <-ctx.Done():
			return
		}
	}
}

// reload applies the configuration as it is now. If anything is wrong with it, nothing of it changes; the files of TLS are looked at, and the
// audit log is opened anew, at all events.
func (l *reloader) reload(r *replica) {
	r.entrance.reread()
	next, warnings, err := l.load(false)
	var found problems
	if errors.As(err, &found) {
		for _, p := range found {
			l.log.Error("the new configuration is wrong", "at", p.position.String(), "setting", p.Path, "problem", p.What, "remedy", p.Remedy)
		}
	}
	if err != nil {
		l.log.Error("reloading failed; everything stays as it is", "problems", len(found), "err", firstLine(err, found))
		return
	}
	logWarnings(l.log, warnings)
	diff, err := r.reconfigure(next)
	if err != nil {
		l.log.Error("reloading failed; everything stays as it is", "err", err)
		return
	}
	for _, section := range l.started.restartFor(next) {
		l.log.Warn("a changed setting takes effect at the next start only", "setting", section)
	}
	l.log.Info("reloaded the configuration", "added", diff.added, "changed", diff.changed, "removed", diff.removed, "clients", len(next.Clients), "rules", len(next.Policy.Rules))
}

// firstLine is err, unless it was told problem by problem.
func firstLine(err error, told problems) string {
	if len(told) > 0 {
		return "see above"
	}
	return err.Error()
}

// restartFor lists the sections that differ and that reload does not apply.
func (c *config) restartFor(next *config) []string {
	var sections []string
	for _, s := range []struct {
		name string
		a, b any
	}{
		{"tls", c.TLS, next.TLS},
		{"plaintext", c.Plaintext, next.Plaintext},
		{"replica", c.Replica, next.Replica},
		{"grpc", c.GRPC, next.GRPC},
		{"http", c.HTTP, next.HTTP},
		{"gateway", c.Gateway, next.Gateway},
		{"log", c.Log, next.Log},
		{"etcd", c.Etcd, next.Etcd},
		{"election", c.Election, next.Election},
		{"snapshot", c.Snapshot, next.Snapshot},
		{"sealing", c.Sealing.keys(), next.Sealing.keys()},
		{"insecure_plaintext_store", c.PlaintextStore, next.PlaintextStore},
		{"audit", c.Audit, next.Audit},
	} {
		if !reflect.DeepEqual(s.a, s.b) {
			sections = append(sections, s.name)
		}
	}
	return sections
}
