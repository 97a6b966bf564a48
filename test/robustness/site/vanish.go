package site

import (
	"errors"
	"fmt"
)

var errNoWire = errors.New("no process vanishes in a site without network namespaces")

// Vanish loses every packet between the process and all others, in both directions, until Appear: connections stay open and silent, and
// new ones are tried in vain. Only the suite's own ways lead past that. It needs namespaces.
func (p *Process) Vanish() error {
	if p.host.wire == nil {
		return fmt.Errorf("%s: %w", p.name, errNoWire)
	}
	if err := p.host.wire.vanish(); err != nil {
		return fmt.Errorf("making %s vanish: %w", p.name, err)
	}
	return nil
}

// Appear undoes Vanish. What TCP had to send arrives when it tries again: after as long, at most, as the process was away.
func (p *Process) Appear() error {
	if p.host.wire == nil {
		return nil
	}
	if err := p.host.wire.appear(); err != nil {
		return fmt.Errorf("making %s appear: %w", p.name, err)
	}
	return nil
}
