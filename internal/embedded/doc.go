// Package embedded runs an etcd server inside the process: for small teams that want no etcd of their own, for `broker dev`, and for
// tests.
//
// It is the whole etcd, on ordinary sockets and an ordinary data folder: etcdctl works on it, the folder can be moved to a separate
// etcd later, and several brokers can be members of one cluster. What this package adds is what an embedder must otherwise find out:
//
//   - Start returns when the member serves, or says why it does not; Begin does not wait for the other members. etcd itself waits
//     forever for a data folder that another process holds, and panics on some damaged ones; both are errors here.
//   - Close may be called twice, from anywhere, and returns when all goroutines are gone. etcd's own Close panics when repeated, and
//     waits seconds for open watch streams; here they are ended first.
//   - etcd's log goes to slog. Its Info is for people who operate etcd, so it becomes Debug; its Debug, which prints stored values, is
//     dropped.
//
// A member that cannot write its data any more (disk full, input/output error) logs why and ends the process with status 1, as etcd
// does: to go on would be to acknowledge what was not kept.
package embedded
