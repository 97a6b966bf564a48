package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Words that the attacker's process is told. To each it answers with its results so far, on one line.
const (
	begin = "begin"
	end   = "end"
	tell  = "tell"
)

// beAttacker is the whole life of an attacker's process: it reads its target from standard input, then words, and ends with that input.
func beAttacker(ctx context.Context, a attack) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var t target
	if err := in.Decode(&t); err != nil {
		return fmt.Errorf("reading the target: %w", err)
	}
	n := newTally()
	stop := func() error { return nil }
	for {
		var word string
		if err := in.Decode(&word); errors.Is(err, io.EOF) {
			return stop()
		} else if err != nil {
			return fmt.Errorf("reading a word: %w", err)
		}
		switch word {
		case begin:
			running, cancel := context.WithCancel(ctx)
			failed := make(chan error, 1)
			go func() { failed <- a.run(running, t, n) }()
			stop = func() error { cancel(); return <-failed }
		case end:
			if err := stop(); err != nil {
				return err
			}
			stop = func() error { return nil }
		case tell:
		default:
			return fmt.Errorf("nobody knows the word %q", word)
		}
		if err := out.Encode(n.now()); err != nil {
			return err
		}
	}
}

// attacker is a process that attacks, with the least priority that there is, whatever this process has: it must not take the processors
// away from those whom it attacks, since then the measure would be of the scheduler.
type attacker struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	told *bufio.Reader
}

func startAttacker(ctx context.Context, a attack, t target) (*attacker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &attacker{cmd: exec.CommandContext(ctx, "chrt", "--other", "0", "nice", "-n", "39", self, "-attacker", a.name)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.told = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the attacker: %w", err)
	}
	if err := json.NewEncoder(p.in).Encode(t); err != nil {
		return nil, errors.Join(fmt.Errorf("telling the attacker its target: %w", err), p.close())
	}
	return p, nil
}

// say tells the attacker a word, and returns its results so far. It blocks until the attacker has answered, which takes as long as the
// attack takes to end.
func (p *attacker) say(word string) (results, error) {
	var r results
	if err := json.NewEncoder(p.in).Encode(word); err != nil {
		return r, fmt.Errorf("telling the attacker to %s: %w", word, err)
	}
	line, err := p.told.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("hearing from the attacker: %w", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("hearing from the attacker: %w", err)
	}
	return r, nil
}

// close ends the process and waits for it.
func (p *attacker) close() error {
	_ = p.in.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("ending the attacker: %w", err)
	}
	return nil
}
