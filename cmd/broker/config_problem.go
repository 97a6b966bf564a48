package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// position is where a setting was made: a place in the file, an environment variable or a flag.
type position struct {
	// Source is the file's name, "environment NAME" or "flag --name".
	Source string `json:"source"`
	// Line and Column count from 1, Column in characters; both are 0 outside the file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

func (p position) String() string {
	if p.Line == 0 {
		return p.Source
	}
	return fmt.Sprintf("%s:%d:%d", p.Source, p.Line, p.Column)
}

// problem is one thing wrong with the configuration, in words for the operator: where, what, and the way out. It contains neither the value of a secret nor any
// neighbouring text of the file.
type problem struct {
	position
	// Path is the field, such as "tokens[0].wechat.appid"; empty if no field is concerned.
	Path string `json:"path,omitempty"`
	// What is wrong, and the way out of it.
	What   string `json:"problem"`
	Remedy string `json:"remedy,omitempty"`
}

func (p problem) String() string {
	var b strings.Builder
	b.WriteString(p.position.String() + ": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// problems is the error of a configuration: all of them at once, in the order of the file.
type problems []problem

func (ps problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders what concerns flags and environment first, then the file from top to bottom.
func (ps problems) sorted() problems {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Source, b.Source))
	})
	return ps
}

// enumerate joins words for a sentence: "a, b and c".
func enumerate(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}
