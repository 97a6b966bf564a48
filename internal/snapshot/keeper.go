package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// How often the file is written.
const (
	// spacing is the least time between two looks at what has changed, and so between two writes.
	spacing = time.Second
	// retryEvery is the time between two tries while the file cannot be written.
	retryEvery = 5 * time.Second
)

// Config says what is kept where. All fields are required.
type Config struct {
	// File is an absolute path, in a folder that exists. Each replica has its own.
	File string
	// Namespace is the prefix of the cluster's keys in etcd, and Replica this replica's id.
	Namespace, Replica string
	// View is what is kept, and restored.
	View *view.View
	// Codec seals values as they are in etcd.
	Codec Codec
	// Course makes a replica that was restarted notice that etcd went back meanwhile.
	Course Course
	Clock  *clock.Clock
	Logger *slog.Logger
}

// Keeper keeps one replica's snapshot. Restore comes first, then Run; each is called once.
type Keeper struct {
	cfg     Config
	metrics metrics

	file    []view.Held // what the file holds, as far as this process knows; by name
	refused *Refusal    // the file that stands there still and must not be replaced as it is; nil if none
	failing bool        // the last write failed
	rewrite bool        // the file is to be written anew although what it should hold is in it: its values are sealed with an old key
}

// New checks the configuration. It starts nothing and reads nothing.
func New(cfg Config) (*Keeper, error) {
	if !filepath.IsAbs(cfg.File) {
		return nil, fmt.Errorf("the snapshot's file %q must be an absolute path", cfg.File)
	}
	return &Keeper{cfg: cfg, metrics: newMetrics()}, nil
}

// Run keeps the file up to date until ctx ends; then it brings it up to date once more, and returns nil. It may block for as long as the
// disk does.
func (k *Keeper) Run(ctx context.Context) error {
	if err := atomicfile.Sweep(k.cfg.File); err != nil {
		k.cfg.Logger.Warn("half-written snapshots of a predecessor cannot be removed", "err", err)
	}
	for ctx.Err() == nil {
		_, moved := k.cfg.View.Applied(0) // before the look, so that no change falls in between
		pause := spacing
		if !k.keep() {
			pause, moved = retryEvery, nil
		}
		rest(ctx, pause)
		if moved == nil {
			continue
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	k.keep()
	return nil
}

// keep writes the file if what it should hold has changed. It returns false if it should be tried again.
func (k *Keeper) keep() bool {
	held := k.held()
	if !k.rewrite && slices.EqualFunc(held, k.file, func(a, b view.Held) bool { return reflect.DeepEqual(a, b) }) {
		return true
	}
	if k.blocked() {
		return false
	}
	written, err := k.write(held)
	k.note(written, err)
	if err != nil {
		return false
	}
	k.file, k.rewrite = held, false
	return true
}

// held is what the file should hold: what the view holds, and as long as that does not come from the store, what else was in the
// file. A wrong configuration, or one that is mended later, costs no token.
func (k *Keeper) held() []view.Held {
	held := k.cfg.View.Held()
	if k.cfg.View.Revision() == 0 {
		for _, h := range k.file {
			if !slices.ContainsFunc(held, func(other view.Held) bool { return other.Name == h.Name }) {
				held = append(held, h)
			}
		}
	}
	return sorted(held)
}

func sorted(held []view.Held) []view.Held {
	slices.SortFunc(held, func(a, b view.Held) int { return strings.Compare(a.Name, b.Name) })
	return held
}

// blocked reports whether a foreign file is in the way, until somebody has removed it.
func (k *Keeper) blocked() bool {
	if k.refused == nil || !k.refused.Foreign() {
		return false
	}
	if _, err := os.Lstat(k.cfg.File); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	k.refused = nil
	return false
}

// write writes the file anew, and returns the time that it states. A refused file is kept.
func (k *Keeper) write(held []view.Held) (time.Time, error) {
	now := k.cfg.Clock.Wall()
	s := Snapshot{Namespace: k.cfg.Namespace, Replica: k.cfg.Replica, Written: now, Held: held}
	s.Head, s.Puts = k.cfg.Course.Course()
	data, err := Encode(s, k.cfg.Codec)
	if err != nil {
		return now, err
	}
	if k.refused != nil {
		if err := setAside(k.cfg.File); err != nil {
			return now, fmt.Errorf("keeping the refused snapshot: %w", err)
		}
		k.cfg.Logger.Info("a new snapshot takes the place of the refused one", "kept_as", k.cfg.File+refusedSuffix)
		k.refused = nil
	}
	return now, atomicfile.Write(k.cfg.File, data, private)
}

// note counts what came of a write, and tells people when that changes.
func (k *Keeper) note(written time.Time, err error) {
	failed := err != nil
	if failed {
		k.metrics.failures.Inc()
	} else {
		k.metrics.lastWrite.Set(float64(written.UnixMilli()) / 1000)
		k.metrics.refused.Reset()
	}
	switch {
	case failed && !k.failing:
		k.cfg.Logger.Error("the snapshot cannot be written; trying on", "file", k.cfg.File, "err", err,
			"remedy", "see that its folder exists, belongs to the user that the broker runs as, and has space")
	case !failed && k.failing:
		k.cfg.Logger.Info("the snapshot is written again", "file", k.cfg.File)
	}
	k.failing = failed
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
