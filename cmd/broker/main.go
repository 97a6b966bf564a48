// Command broker keeps access tokens alive and hands them out over gRPC and HTTP: the server, a demonstration of it, and the tools to use and
// to operate it. It is the one place that knows every package, and joins them.
//
// # Configuration
//
// loadConfig turns flags, environment and file into one config, or into a list of everything that is wrong with them. It walks the
// YAML tree itself instead of decoding into structs: so each mistake has its line and column, all of them are told at once, no
// message speaks of Go types, and nothing is quoted that may be a secret. What a value means to the upstream is asked of the packages
// that will use it (wechat.New, refresh.Policy.Complete), so that a configuration that is accepted can be run. Secrets come from files
// and environment variables and are read when the configuration is.
//
// # A running replica
//
//	serve      listeners, HTTP server                 began first, ends last: liveness does not hang on etcd
//	 withEtcd  embedded etcd if wanted, etcd client   taken down when the work is done
//	  replica  store feed -> view <- gRPC server      every replica
//	           observer, elector -> supervisor        supervisor.lead runs one refresher a token while this replica leads
//	           reloader -> catalog                    which tokens there are, and who refreshes them
//
// On SIGTERM or SIGINT it ends in this order: health says NOT_SERVING; no fetch is begun, and the one in flight is awaited and its
// outcome written; the lead is given up, so that another replica takes over within milliseconds; calls under way end, or are cut off
// after drainTime; the feed ends; etcd is closed. A part that fails brings about the same. A second signal ends the process at once,
// as a crash would.
//
// On SIGHUP the tokens and clients of the configuration are read anew. Those that did not change are not touched: neither what is promised of
// them nor the refresher's back-off. A configuration that is wrong changes nothing.
//
// # Commands
//
// Each has a file of its name, takes a console, and returns an outcome: an exit code and what is to be said on standard error. The
// codes are in exit.go. All of them hold tokens or secrets for a while, so none leaves a core dump.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of schedules must not depend on the machine
)

func main() {
	if err := forbidCoreDumps(); err != nil { // a sandbox may forbid even that; the work goes on
		fmt.Fprintln(os.Stderr, "broker:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], systemConsole()))
}
