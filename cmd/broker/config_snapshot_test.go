package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSnapshotIsKeptWhereTheConfigurationSaysAndNowhereByDefault(t *testing.T) {
	cfg, _, err := loadText(minimal, nil, nil)
	if err != nil || cfg.Snapshot.File != "" {
		t.Fatalf("by default it is kept in %q, %v", cfg.Snapshot.File, err)
	}
	file := filepath.Join(t.TempDir(), "snapshot.json")
	for how, load := range map[string]func() (*config, problems, error){
		"file": func() (*config, problems, error) { return loadText(minimal+"snapshot: {file: "+file+"}\n", nil, nil) },
		"environment": func() (*config, problems, error) {
			return loadText(minimal, map[string]string{"TOKENBROKER_SNAPSHOT_FILE": file}, nil)
		},
		"flag": func() (*config, problems, error) {
			return loadText(minimal, nil, map[string]string{"snapshot.file": file})
		},
	} {
		with, warnings, err := load()
		if err != nil || len(warnings) > 0 || with.Snapshot.File != file {
			t.Fatalf("by %s: %v, warnings %v", how, err, warnings)
		}
		if got := cfg.restartFor(with); !slices.Equal(got, []string{"snapshot"}) {
			t.Errorf("by %s: a reload would take over all but %v", how, got)
		}
		var out bytes.Buffer
		if err := summarize(with).table(&out); err != nil || !strings.Contains(out.String(), "snapshot     "+file) {
			t.Errorf("by %s: validate does not show it: %v\n%s", how, err, out.String())
		}
	}
}

func TestSnapshotAmongEverybodysFilesIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := loadText(minimal, nil, map[string]string{"snapshot.file": filepath.Join(dir, "s.json")})
	if got := strings.Join(lines(warnings), "\n"); err != nil || !strings.HasPrefix(got, "flag --snapshot-file: snapshot.file: every user of this machine") {
		t.Errorf("%v, warnings %s", err, got)
	}
}

func TestSnapshotsFolderIsNotLookedAtOnAnotherMachine(t *testing.T) {
	_, _, err := loadConfig(sources{
		File: "broker.yaml", Data: []byte(minimal + "snapshot: {file: /does/not/exist/s.json}\n"), Env: fakeEnvironment(nil), Dry: true,
	})
	if err != nil {
		t.Error(err)
	}
}
