package main

import (
	"path/filepath"
	"strings"
)

// auditConfig says where the audit log goes: to a file, to standard output, or, if neither is set, nowhere.
type auditConfig struct {
	// File is an absolute path.
	File   string
	Stdout bool
	// Refuse: calls that cannot be recorded are refused. Else they are answered, and counted.
	Refuse bool
}

func (c auditConfig) on() bool { return c.File != "" || c.Stdout }

// describe says for people where the log goes, and what becomes of calls that cannot be recorded; empty if there is none.
func (c auditConfig) describe() string {
	place, full := c.File, "calls go on when it is full"
	switch {
	case !c.on():
		return ""
	case c.Stdout:
		place = "standard output"
	}
	if c.Refuse {
		full = "calls are refused when it is full"
	}
	return place + "; " + full
}

func (s *section) audit() auditConfig {
	file, stdout, full := s.get("file"), s.get("stdout"), s.get("when_full")
	c := auditConfig{File: file.str(""), Stdout: stdout.boolean(false), Refuse: full.oneOf("continue", "continue", "refuse") == "refuse"}
	s.end()
	switch {
	case !s.present || s.broken:
	case c.File != "" && c.Stdout:
		stdout.fail("the audit log has one place", "take audit.file or audit.stdout away")
	case c.Stdout:
	case c.File == "":
		s.fail("there is no place for the audit log", "name a file, such as /var/log/tokenbroker/audit.log, or set stdout: true, or take the section away")
	case !filepath.IsAbs(c.File):
		file.fail(quote(c.File)+" is a relative path", "write it from the root on, such as /var/log/tokenbroker/audit.log")
	case strings.HasSuffix(c.File, string(filepath.Separator)):
		file.fail(quote(c.File)+" names a folder", "write the name of a file after it")
	case !s.dry:
		file.snapshotFolder(filepath.Dir(c.File))
	}
	return c
}
