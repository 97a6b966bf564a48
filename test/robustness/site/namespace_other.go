//go:build !linux

package site

import (
	"errors"
	"net"
)

// namespace is never made: only Linux has network namespaces that the suite knows of.
type namespace struct{}

var errNotLinux = errors.New("this is not Linux")

func newNamespace() (*namespace, error) { return nil, errNotLinux }

func (*namespace) do(f func() error) error { return f() }

func (*namespace) close() {}

// wire is never laid.
type wire struct{}

func lay(_, _ *namespace, _, _ string) (*wire, error) { return nil, errNotLinux }

func (*wire) vanish() error { return errNotLinux }

func (*wire) appear() error { return errNotLinux }

func (*wire) hurry(net.Conn) error { return errNotLinux }
