// Command broker keeps access tokens alive and hands them out over gRPC: the server, a demonstration of it, and the tools to ask and
// to operate it.
//
// Configuration is this package's business: files config*.go. Each subcommand has a file of its name. Every subcommand exits with 0
// when all is well; the other codes are in exit.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of schedules must not depend on the machine
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], systemConsole()))
}
