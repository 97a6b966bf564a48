package main

import (
	"io"
	"log/slog"
)

// newLogger logs as configured.
func newLogger(w io.Writer, c logConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logWarnings tells what is questionable in a configuration.
func logWarnings(log *slog.Logger, warnings problems) {
	for _, p := range warnings {
		log.Warn("the configuration is questionable", "at", p.position.String(), "setting", p.Path, "problem", p.What, "remedy", p.Remedy)
	}
}
