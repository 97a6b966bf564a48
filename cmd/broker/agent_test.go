package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

func TestACommandLineThatCannotBeMeantStartsNoAgent(t *testing.T) {
	dir := t.TempDir()
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing to do":               {nil, "of no use"},
		"a file without a path":       {[]string{"--file", "shop"}, "NAME=PATH"},
		"a file without a name":       {[]string{"--value-file", "=x"}, "NAME=PATH"},
		"one file for two":            {[]string{"--file", "a=" + dir + "/x", "--value-file", "b=" + dir + "/./x"}, "two tokens"},
		"a mode that is none":         {[]string{"--file", "a=" + dir + "/x", "--file-mode", "0999"}, "0660"},
		"a mode of more than nine":    {[]string{"--file", "a=" + dir + "/x", "--socket-mode", "4755"}, "0660"},
		"an unknown log level":        {[]string{"--file", "a=" + dir + "/x", "--log-level", "loud"}, "log level"},
		"an unknown log format":       {[]string{"--file", "a=" + dir + "/x", "--log-format", "xml"}, "log format"},
		"a server that is no address": {[]string{"--file", "a=" + dir + "/x", "--server", "nowhere"}, "host:port"},
	} {
		got := command(t.Context(), "127.0.0.1:1", "", append([]string{"agent"}, c.args...)...)
		if !strings.Contains(got, c.says) || !strings.Contains(got, "exit code 64") {
			t.Errorf("%s:\n%s", what, got)
		}
	}
}

func TestAnAgentThatCannotServeSaysWhy(t *testing.T) {
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"an address of others":  {[]string{"--listen", "127.0.0.1:0", "--http-listen", "0.0.0.0:0"}, "loopback addresses and unix sockets only"},
		"a folder that is none": {[]string{"--file", "shop=" + filepath.Join(t.TempDir(), "none", "shop.json")}, "no such file or directory"},
	} {
		got := command(t.Context(), "127.0.0.1:1", "", append([]string{"agent"}, c.args...)...)
		if !strings.Contains(got, c.says) || !strings.Contains(got, "exit code 1\n") {
			t.Errorf("%s:\n%s", what, got)
		}
	}
}

func TestAnAgentThatIsToldToStopEndsWell(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	got := command(ctx, closedPort(t), "", "agent", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--token", "shop")
	if !strings.Contains(got, "exit code 0") || !strings.Contains(got, "shut down") {
		t.Error(got)
	}
}

func TestAnAgentHasNoTimeoutThatCouldBeWrong(t *testing.T) {
	p := launch(t, map[string]string{serverVariable: closedPort(t), timeoutVariable: "0s"}, "agent", "--listen", "127.0.0.1:0")
	p.err.await(t, "msg=starting")
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
