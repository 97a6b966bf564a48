package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFolderOfARunThatPassedIsDeletedAndThatIsSaid(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	h, err := newHome("")
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	if err := h.leave(&told); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.dir); !errors.Is(err, os.ErrNotExist) || !strings.Contains(told.String(), "-keep FOLDER keeps it") {
		t.Errorf("%v; it said %q", err, told.String())
	}
}

func TestFolderThatIsToBeKeptIsKeptAndNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	h, err := newHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	if err := h.leave(&told); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.dir); err != nil || !strings.Contains(told.String(), dir) {
		t.Errorf("%v; it said %q", err, told.String())
	}
}
