// Package site runs the real processes of one robustness run: brokers, the members of an etcd cluster, the simulated WeChat, and the
// network between all of them, which breaks on demand.
//
//	caller ---------------> broker N --- proxy (N, M) ----> etcd-M <--- forward proxy, proxy (M, other) --- the other members
//	                           |                              ^
//	                           +--- forward proxy N           +------ the suite's own clients, past all proxies
//	                                    |
//	                                WeChat, a handler in the suite's process, which sees 10.0.0.N asking
//
// Every broker has a proxy of its own to each member, so that one of them, or one way of one of them, can be broken alone (Broker.Etcd).
// It reaches WeChat through an HTTP proxy of its own (Broker.WeChat), so that WeChat sees an address by which it can refuse one replica.
// Members speak to each other under addresses that do not exist, through a forward proxy for each, and from there through a proxy
// for each pair (Member.Peers): a member that is cut off is so both ways, although etcd has one address a member for all others.
//
// # Namespaces
//
// With Config.Namespaces, which takes root on Linux, every process runs in a network namespace of its own, at the end of a wire, a pair of
// virtual network cards. The other ends of all wires are in one more namespace, in which nothing runs; the sockets of the suite that face
// processes are there: proxies and uplinks listen for them at 10.0.2.1, and callers dial from it.
//
//	                           +- namespace ----------+  wire  +- namespace -+
//	caller, proxies, uplinks --| 10.0.2.1             |========| 10.0.0.N    |-- broker N
//	     (in the suite)        |                      |========| 10.0.1.M    |-- etcd-M
//	                           +----------------------+        +-------------+
//
// So a process can vanish (Process.Vanish): packets to and from it are lost, whatever they carry, while connections stay open and silent, as
// when a switch breaks. A proxy cannot do that: it answers for who is away, takes what is said to them, and never tries a kernel's patience
// with packets that nobody acknowledges. The suite has a way past the wire of its own, for probes, failpoints and its clients of etcd: it
// dials from inside.
//
// Nothing of this is seen outside, in no list of devices, routes or named namespaces; so addresses collide with nobody's, not even with
// those of another run. A namespace lives as long as its last process and the suite do, and needs no cleaning up. It outlives a restart
// of its process, which comes back to the same wire, broken or not.
//
// # Processes
//
// A process that ends without having been told to is a crash: Site.Err has it from then on, and Site.Close returns it. An end that a
// panic of a failpoint brought about was wished for. Every start and end is an event of the history, of kind Process: Replica is the
// broker's id, or Actor the member's name; Code is "started" or "ended"; Detail says how it ended; Sent is just before it was
// started or signalled, Received when it ran or was gone. What a process writes is appended to Config.Dir/<id>.log over all its lives.
//
// All methods are safe for concurrent use, and what they do they do at once. None waits for the cluster to come to terms with it,
// but for Start, Heal and where it is said. Errors say what failed and where; nothing is logged.
package site
