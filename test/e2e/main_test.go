// Package e2e_test tries the broker as its users have it: the built program, in processes of its own, with configuration files and
// signals, on a real etcd. Only WeChat is simulated. It lives in the test process and is the judge: it knows which token was alive
// when, so every answer that a caller got can be held against the truth.
//
// # What is tested where
//
//	failover_test.go   the leader is killed: who leads next, when, and what callers notice (nothing)
//	handover_test.go   the leader is told to stop: the same, in less time
//	dev_test.go        `broker dev`, and the commands and the generic client that a newcomer tries on it
//	report_test.go     reports of dead tokens through every replica
//	foreign_test.go    another system fetches: the leader asks, notices, and explains
//	place_test.go      WeChat refuses one replica's address: who leads, and what everybody says of it
//	drill_test.go      a leaked token is killed, through the leader's death
//	operate_test.go    operators' orders through a follower, streams, and reloading
//	outage_test.go     etcd away and back
//	restore_test.go    etcd restored from a backup, or emptied
//	upgrade_test.go    two versions of the program on one etcd
//	example_test.go    examples/secure as it is pasted: certificates, roles, a policy, an audit log, an agent
//	etcd_role_test.go  etcd with certificates and users: what the brokers' own may do, and what they say if it may not
//	coldstart_test.go  starting while etcd is away, from a snapshot that can or cannot be used
//	agent_test.go      an agent through an outage of all replicas, its sockets and files; and `broker exec`
//	embedded_test.go   the etcd inside the broker, alone and as a cluster
//	sdk_test.go        the SDK for Go under rotation, and when a token dies
//	leak_test.go       everything that is written anywhere, searched for secrets; fortress_leak_test.go: with all that keeps secrets switched on
//	coredump_linux_test.go  no core, and no memory for others
//
// The other files are the machinery: processes, brokers, a site of them with etcd and WeChat, its callers, and their judgement; the
// house of leak_test.go, where everything is in trouble, the fortress, where everything is locked, and the search through what was written.
//
// # Time
//
// Tests that measure time run one after the other, before those that run in parallel. Nothing sleeps: eventually waits for a
// condition. Life goes on at real speed, so lives of tokens are short where something must end.
package e2e_test

import (
	"flag"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// root is the root of the module, seen from the folder in which tests run.
const root = "../.."

// program is the path of the built broker.
var program string

// atOnce is how many parallel tests run at once at least, unless the command line says otherwise: they wait far more than they compute.
const atOnce = 4

func TestMain(m *testing.M) {
	flag.Parse()
	parallel, processors := flag.Lookup("test.parallel").Value, runtime.GOMAXPROCS(0)
	if parallel.String() == strconv.Itoa(processors) && processors < atOnce {
		_ = parallel.Set(strconv.Itoa(atOnce)) // a number
	}
	brokertest.Main(m, func(dir string) error {
		program = filepath.Join(dir, "broker")
		return brokertest.Build(program)
	})
}
