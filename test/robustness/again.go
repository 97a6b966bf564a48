package main

import (
	"fmt"
	"io"

	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// judgeAgain judges a run of which the history was kept.
func judgeAgain(f flags, out io.Writer) error {
	c, err := reopen(f.again)
	if err != nil {
		return err
	}
	res := result{verdict: judge.Judge(c), final: c}
	if _, err := fmt.Fprint(out, res.verdict); err != nil {
		return err
	}
	if !res.passed() {
		return errBroken
	}
	return nil
}
