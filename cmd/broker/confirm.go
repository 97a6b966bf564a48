package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// errNotConfirmed is how a command ends that somebody thought better of.
var errNotConfirmed = &outcome{code: exitFailed, text: "refresh: not confirmed; nothing was done"}

// confirmed asks a question, and takes anything but y or yes for a no.
func (c console) confirmed(ctx context.Context, question string) error {
	answer, err := c.ask(ctx, question+" [y/N] ")
	if answer = strings.ToLower(answer); err == nil && answer != "y" && answer != "yes" {
		return errNotConfirmed
	}
	return err
}

// permitted asks whether to go on, by the name of the token. Where nobody can be asked the answer is no.
func (c console) permitted(ctx context.Context, name string) error {
	if !c.terminal {
		return &outcome{code: exitFailed, text: "refresh: standard input is not a terminal, so nobody can be asked; give --yes to go on without asking. Nothing was done"}
	}
	answer, err := c.ask(ctx, fmt.Sprintf(`This kills the present token of %[1]s, and 30 s later the one after it, so that a copy that leaked is refused wherever it is.
Whoever holds one of the two is refused at once, until it asks a broker again; brokers hand out the new one within a second.
It uses 2 of the day's forced refreshes (WeChat allows 20), and takes about 35 s; longer if the leader changes meanwhile.
Type the token's name to go on: `, name))
	if err == nil && answer != name {
		return errNotConfirmed
	}
	return err
}

// ask writes a question and reads one line, without the space around it; empty if there is none. It blocks until then, or until ctx ends.
func (c console) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(c.err, question)
	answered := make(chan string, 1)
	go func() { // a read cannot be broken off: it ends with the process
		answer, err := bufio.NewReader(c.in).ReadString('\n')
		if err != nil {
			fmt.Fprintln(c.err)
		}
		answered <- strings.TrimSpace(answer)
	}()
	select {
	case answer := <-answered:
		return answer, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
