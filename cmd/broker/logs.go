package main

import (
	"fmt"
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

// parseLevel reads how people write a level.
func parseLevel(text string) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(text)) != nil {
		return 0, fmt.Errorf("log level %q is not possible; write debug, info, warn or error", text)
	}
	return level, nil
}

// logWarnings tells what is questionable in a configuration.
func logWarnings(log *slog.Logger, warnings problems) {
	for _, p := range warnings {
		log.Warn("the configuration is questionable", "at", p.position.String(), "setting", p.Path, "problem", p.What, "remedy", p.Remedy)
	}
}
