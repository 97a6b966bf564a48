// Package atomicfile writes files that a crash leaves whole.
//
// The content is written to a new file beside the one that it is for, synced, and renamed; then the folder is synced. Whatever dies in
// between, process or machine, leaves the old content or the new one, with the permissions that belong to it. The new file is nobody's
// but its owner's until it is complete, so that permissions never are wider than both ends want them.
//
// What a writer that died left half written is called .NAME.RANDOM.tmp, and Sweep removes it. It is for the one writer of a file, before it
// begins: two writers at a time never spoil a file, but a sweep takes away what the other one is about to rename.
//
// The folder must exist and be writable. All of it blocks for as long as the disk does.
package atomicfile
