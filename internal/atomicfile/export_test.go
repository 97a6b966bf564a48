package atomicfile

// SyncFolder is what makes a change of a folder last, for tests with a folder that takes no files.
var SyncFolder = syncFolder
