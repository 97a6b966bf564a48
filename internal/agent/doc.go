// Package agent stands between the programs of one host and the brokers. docs/AGENT.md says what its users see; this page says how it is
// kept.
//
//	callers of gRPC ---> service ----> tokenbroker.Client ---> brokers
//	callers of HTTP ---> gateway --^         ^
//	readers of files <--- keeper ------------'
//
// # What is answered
//
// The SDK (client/tokenbroker) decides what is held, for how long, and when it is renewed; its documentation is the specification. Everything
// that is handed out comes from there, and its life is counted anew at each answer. So the agent never promises more than the SDK does, the
// versions that it hands out never go back, and a token that one caller reported is kept from all.
//
// An answer of a broker to a single caller would break that: it could be newer than what the next caller gets from memory. A min_ttl that
// what is held does not meet has the SDK ask, and hold the answer. A report of a version that is not held yet is passed on, but what is
// answered is what the SDK holds then.
//
//	call                what it waits for
//	GetToken            nothing while there is a token, a suspect one included; else 1 s, or 5 s where there never was one
//	 with min_ttl       a broker's answer, if what is held has less: the caller's deadline, 60 s without
//	WatchToken          a stream
//	ReportInvalidToken  the end of the matter: the caller's deadline, 60 s without
//	ListTokens          a broker's answer, 2 s; if none can be reached, the last list is answered, aged
//
// Errors are those of a broker, in its words and with its details, where one said something. Where none did, the agent's own have the same
// shape, with CLUSTER_UNREACHABLE as a reason that only it has.
//
// # Files
//
// A file is replaced when version or state change, and when the promise has moved. Promises are renewed without any event, so each file is
// held against what is true once a second. It is never changed in place: who has it open reads what was true when he opened it.
//
// When there is no living token the file says so, or, where a value is all that it can hold, goes. If it can neither be replaced nor
// removed there is nothing left to do but to say so in the log, and to try again. A bare value goes with the agent that put it there, since
// nobody would take it away when it dies; a statement says itself until when it can be believed, and stays, also through the start of the
// next agent while no broker can be reached.
//
// # Sockets
//
// Whether the place of a socket is free is found by connecting; a lock on the folder, held for that moment only, keeps two agents that start
// at once from doing so side by side. An agent that is stopped (SIGSTOP) still has its place: the system accepts connections for it.
// The socket is its owner's alone until it has its permissions. A listener takes away what it made, and nothing else.
//
// # The end
//
// Health says NOT_SERVING, waits and streams end with UNAVAILABLE (REPLICA_DRAINING), what is under way over HTTP
// is finished, then what is under way over gRPC, each within drainTime. The sockets are gone by then.
package agent
