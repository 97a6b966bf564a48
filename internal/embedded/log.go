package embedded

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ZapLogger returns a zap logger that writes to l, for etcd's client (clientv3.Config.Logger), which logs through zap only. zap's
// Info becomes Debug and its Debug is dropped; attribute names become snake_case.
func ZapLogger(l *slog.Logger) *zap.Logger {
	return zap.New(core{handler: l.Handler()})
}

// core is a zapcore.Core that hands entries to a slog.Handler. It drops zap's Debug whatever the handler wants: at that level etcd
// prints each request with the stored value in it, and so every token.
type core struct {
	handler slog.Handler
	hushed  *atomic.Bool // when set and true, everything is Debug: etcd reports its own closing as errors
}

func (c core) level(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.WarnLevel, c.hushed != nil && c.hushed.Load():
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && c.handler.Enabled(context.Background(), c.level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	c.handler = c.handler.WithAttrs(attrs(fields))
	return c
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, c.level(e.Level), e.Message, e.Caller.PC)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (c core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		// One encoder a field keeps their order; zap's own extras (errorVerbose, stack traces) stay behind in it.
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(names.Replace(f.Key), v))
		}
	}
	return out
}

var names = strings.NewReplacer("-", "_", " ", "_")
