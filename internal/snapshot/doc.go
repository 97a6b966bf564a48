// Package snapshot keeps what a replica holds in a file of its own, so that a replica that starts while etcd is away can answer.
//
// # What it is worth
//
// A replica that reads its snapshot knows what a late joiner learns from etcd, only that it may have been overtaken. So it promises what
// a late joiner may: an idempotent upstream's token until its nominal end, counted by the wall clock less the tolerated skew; of a
// rotating upstream's token nothing, because somebody may have fetched since: it is handed out as Suspect until etcd proves it
// current. An attempt that was under way, or a doubt, counts as in etcd. View.Restore has the rules, and replaces all of it by what
// etcd tells, unless that is older.
//
// The file also tells how far etcd had come. So a replica that was restarted while etcd was restored from a backup notices that, and
// what it knew of a version counts for more than what the backup has (package view).
//
// What the file does not tell is what happened after it was written. It is written within about a second of each change; a forced
// refresh that comes later, while the replica is down, kills a token that the snapshot still promises. That is the same as with a
// replica that is cut off (docs/ARCHITECTURE.md, non-guarantees). So whoever serves from a snapshot should give the store a moment to
// say what it knows.
//
// # The file
//
// One line of JSON, so that people can read it:
//
//	{"format":"tokenbroker snapshot","schema":1,"sha256":"<of content>","content":
//	  {"namespace":"/tokenbroker/","replica":"broker-1","written":"<time>","head":...,"head_puts":...,"tokens":[{"name":...,"seen":...,"local":...,"doubted":...,"record":...}]}}
//
// A record is in the stored form that it has in etcd, its value sealed with the same key, but for another place: what is taken from etcd does
// not open here, nor the other way round, nor as another token's. The checksum tells damage from a wrong key. A file whose values
// are sealed with an older key than the replica's present one is written anew at once, whatever else changes. The format stands first and literally so that a file of another kind is known as such.
//
// It is written as package atomicfile does it, with mode 0600: whatever dies in between leaves the old file or the new one.
//
// # Refusals
//
// A file is used as a whole or not at all, and none can keep a replica from starting. Refusal says what is wrong and what to do.
//
//   - What is no snapshot of this cluster is foreign: no regular file, unreadable, of another format, or of another namespace.
//     Somebody else needs it, or its name was given by mistake; it is never touched, and nothing is written until it is gone.
//   - What is one and cannot be used (too large, damaged, of a newer program, open to other users of the machine, written in the
//     future, sealed with other keys, contradicting itself) is renamed to *.refused before the first write would replace it.
//
// Another replica's snapshot is used, with a warning. It tells of the same cluster, so refusing it would protect from nothing, and would
// take the tokens away from a replica that was renamed, such as every pod of a Kubernetes Deployment.
//
// Of a snapshot that is used, a token is passed over if the configuration names another upstream than its value came from, or if
// it was issued in the future: one of the clocks is wrong then, and nobody knows how long it lives.
package snapshot
