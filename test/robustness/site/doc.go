// Package site runs the real processes of one robustness run: brokers, the members of an etcd cluster, the simulated WeChat, and the
// network between all of them, which breaks on demand.
//
//	caller ---------------> broker N --- proxy (N, M) ----> etcd-M <--- forward proxy, proxy (M, other) --- the other members
//	                           |                              ^
//	                           +--- forward proxy N           +------ the suite's own client, past all proxies
//	                                    |
//	                                WeChat, a handler in the suite's process, which sees 10.0.0.N asking
//
// Every broker has a proxy of its own to each member, so that one of them, or one way of one of them, can be broken alone (Broker.Etcd).
// It reaches WeChat through an HTTP proxy of its own (Broker.WeChat), so that WeChat sees an address by which it can refuse one replica.
// Members speak to each other under addresses that do not exist, through a forward proxy for each, and from there through a proxy
// for each pair (Member.Peers): a member that is cut off is so both ways, although etcd has one address a member for all others.
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
