package snapshot

import (
	"errors"
	"io/fs"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/view"
)

// Restore hands what the file holds to the view, which must know its tokens and have loaded nothing yet. A file that cannot be used is
// told of in the log, and is no failure.
func (k *Keeper) Restore() {
	latest := k.cfg.Clock.Wall().Add(view.DefaultSkew)
	s, err := Read(k.cfg.File, k.cfg.Namespace, latest, k.cfg.Codec)
	log := k.cfg.Logger.With("file", k.cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("there is no snapshot yet")
		return
	case errors.As(err, &k.refused):
		k.metrics.refused.WithLabelValues(string(k.refused.Reason)).Set(1)
		log.Error("the snapshot is refused; starting without it",
			"reason", string(k.refused.Reason), "problem", k.refused.What, "remedy", k.refused.Remedy)
		return
	}
	if s.Replica != k.cfg.Replica {
		log.Warn("the snapshot is another replica's; using it, since it tells of the same cluster", "written_by", s.Replica,
			"remedy", "if the other one still runs, give each replica a file of its own")
	}
	k.file, k.rewrite = sorted(s.Held), s.Outdated
	held := k.usable(s.Held, latest)
	k.cfg.View.Restore(held)
	k.cfg.Course.Resume(s.Head, s.Puts)
	log.Info("restored tokens from the snapshot", "tokens", len(held), "of", len(s.Held), "written", s.Written)
}

// usable leaves out the tokens that are not configured, and those that nothing can be said of.
func (k *Keeper) usable(all []view.Held, latest time.Time) []view.Held {
	var held []view.Held
	for _, h := range all {
		t, problem := k.cfg.View.Token(h.Name), ""
		switch {
		case t == nil:
			continue
		case h.Record.Source != t.Traits().Source:
			problem = "its value is of another upstream than the configuration names"
		case h.Record.IssuedAt.After(latest):
			problem = "it was issued in the future: a clock is wrong"
		}
		if problem != "" {
			k.cfg.Logger.Warn("passing over a token of the snapshot", "token", h.Name, "problem", problem)
			continue
		}
		held = append(held, h)
	}
	return held
}
