package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
)

const (
	// glance is how often a file is held against what is true: promises are renewed without any event.
	glance = time.Second
	// unknownTime is how long a file may say of a token what is not known to be true any more, or yet.
	unknownTime = 2 * time.Second
	// renewal is by how much a promise must have moved to be worth a new file.
	renewal = 5 * time.Second
)

// File is a file that is kept up to date with a token.
type File struct {
	// Token is the name of the token.
	Token string
	// Path is where the file is. Its folder must exist, and be writable: the file is replaced, never changed.
	Path string
	// Bare has the file hold the value and nothing else, instead of a statement in JSON.
	Bare bool
	// Mode is the file's permissions.
	Mode fs.FileMode
}

// check reports whether such a file can be at all.
func (f File) check() error {
	if err := checkName(f.Token); err != nil {
		return fmt.Errorf("the file of token %q: %w", f.Token, err)
	}
	dir, err := os.Stat(filepath.Dir(f.Path))
	if err == nil && !dir.IsDir() {
		err = fmt.Errorf("%s is no folder", filepath.Dir(f.Path))
	}
	if there, statErr := os.Lstat(f.Path); err == nil && statErr == nil && there.IsDir() {
		err = fmt.Errorf("%s is a folder", f.Path)
	}
	if err != nil {
		return fmt.Errorf("the file of token %q: %w", f.Token, err)
	}
	return nil
}

// keeper keeps one file up to date. Only its run touches it.
type keeper struct {
	File
	service *service
	log     *slog.Logger

	told     statement         // what the file says; zero if nothing that could be used
	token    tokenbroker.Token // that the file holds; zero if it is not of this agent's time
	unknown  time.Time         // since when nothing is known; zero if something is
	troubled bool              // the log was told that the file cannot be written
}

func newKeeper(f File, s *service, log *slog.Logger) *keeper {
	return &keeper{File: f, service: s, log: log.With("token", f.Token, "file", f.Path)}
}

// run keeps the file until ctx ends. A bare value goes with the agent: nobody would take it away when it dies. A statement says itself until
// when it can be believed, and stays for the next agent.
func (k *keeper) run(ctx context.Context) {
	if err := atomicfile.Sweep(k.Path); err != nil {
		k.log.WarnContext(ctx, "what a predecessor left could not be removed", "err", err)
	}
	k.told = k.inherit()
	changed := make(chan struct{}, 1)
	following := make(chan struct{})
	go func() {
		defer close(following)
		k.service.follow(ctx, k.File.Token, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-changed:
			k.update(ctx)
		case <-tick.C:
			k.update(ctx)
		case <-ctx.Done():
		}
	}
	<-following
	if k.Bare {
		k.note(ctx, atomicfile.Remove(k.Path))
	}
}

// update holds the file against what is known. What cannot be done now is tried again at the next glance.
func (k *keeper) update(ctx context.Context) {
	held, err := k.service.look(k.File.Token)
	if !held.IsZero() && held.State() != tokenbroker.Expired {
		k.unknown = time.Time{}
		k.note(ctx, k.write(held))
		return
	}
	if _, said := spoken(err); said || k.ended() {
		k.note(ctx, k.bury(ctx))
	}
}

// ended reports whether what the file holds is to be called dead, although no broker said so.
func (k *keeper) ended() bool {
	if k.unknown.IsZero() {
		k.unknown = time.Now()
	}
	switch {
	case k.token.IsZero() && k.told.State != "": // from before this agent's time: true until its own end, for all that is known
		return !time.Now().Before(k.told.ExpiresAt)
	case !k.token.IsZero() && k.token.State() == tokenbroker.Expired:
		return true
	default: // somebody reported it, or there never was one
		return time.Since(k.unknown) >= unknownTime
	}
}

// write makes the file say what is true of a token, if it does not. Where that fails, and the file has an older token that is not promised
// to live any more, it goes.
func (k *keeper) write(held tokenbroker.Token) error {
	s, same := stateOf(held), k.token.Value() == held.Value()
	if same && (k.Bare || !k.told.outdatedBy(s)) {
		k.token = held
		return nil
	}
	err := atomicfile.Write(k.Path, s.encode(held.Value(), k.Bare), k.Mode)
	if err == nil {
		k.told, k.token = s, held
	} else if !same && k.token.TTL() == 0 {
		err = errors.Join(err, k.forget())
	}
	return err
}

// bury makes the file say that there is no living token: a statement without a value, or no file where a value is all that it could hold.
func (k *keeper) bury(ctx context.Context) error {
	dead := k.told.dead(k.File.Token)
	if k.told.State == dead.State {
		return nil
	}
	var err error
	if !k.Bare {
		err = atomicfile.Write(k.Path, dead.encode("", false), k.Mode)
	}
	if k.Bare || err != nil {
		err = errors.Join(err, k.forget())
	}
	if err == nil {
		k.told, k.token = dead, tokenbroker.Token{}
		k.log.WarnContext(ctx, "no living token for the file", "version", dead.Version)
	}
	return err
}

// forget takes the file away.
func (k *keeper) forget() error {
	err := atomicfile.Remove(k.Path)
	if err == nil {
		k.told, k.token = statement{}, tokenbroker.Token{}
	}
	return err
}

// note tells the log of trouble with the file, and of its end, once.
func (k *keeper) note(ctx context.Context, err error) {
	if err != nil && !k.troubled {
		k.log.ErrorContext(ctx, "file not kept up to date", "err", err)
	}
	if err == nil && k.troubled {
		k.log.InfoContext(ctx, "file up to date again")
	}
	k.troubled = err != nil
}
