//go:build foreign

package foreign_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// example is how a program in examples/ is run, and with which address of the broker.
type example struct {
	language string
	command  []string
	grpc     bool
}

func examples(t *testing.T) []example {
	t.Helper()
	file := func(path string) string { return absolute(t, root, "examples", path) }
	all := []example{
		{language: "go", command: []string{"go", "run", "../../examples/go"}, grpc: true},
		{language: "node", command: []string{"node", file("node/print-token.js")}, grpc: true},
		{language: "python", command: []string{"python3", file("python/print_token.py")}},
		{language: "php", command: []string{"php", file("php/print_token.php")}},
		{language: "java", command: []string{"java", file("java/PrintToken.java")}},
		{language: "curl", command: []string{file("curl/print_token.sh")}},
	}
	entries, err := os.ReadDir(absolute(t, root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	// secure is no program: what stands there is pasted by test/e2e.
	folders := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() || e.Name() == "secure" })
	if len(folders) != len(all) {
		t.Errorf("%d folders are in examples/, and %d of them are run", len(folders), len(all))
	}
	var here []example
	for _, e := range all {
		if !without(e.language) {
			here = append(here, e)
		}
	}
	return here
}

// ask runs the example. Node finds its libraries where its tests have them.
func (e example) ask(t *testing.T, s *site.Site, args ...string) result {
	t.Helper()
	broker := s.HTTP
	if e.grpc {
		broker = s.GRPC
	}
	env := []string{"NODE_PATH=" + absolute(t, "node/node_modules")}
	return run(t, env, e.command[0], append(append(e.command[1:], broker), args...)...)
}

var shown = regexp.MustCompile(`^(\S+), version (\d+), \d{4}s left: (\S+)\.\.\.\n$`)

func TestExamplesPrintATokenAndReplaceADeadOne(t *testing.T) {
	var names []string
	for _, e := range examples(t) {
		names = append(names, "example-"+e.language)
	}
	s := site.New(t, program, names...)
	for i, e := range examples(t) {
		name := names[i]
		t.Run(e.language, func(t *testing.T) {
			check := func(r result, want site.Token) {
				t.Helper()
				line := fmt.Sprintf("%s, version %d, %.8s", name, want.Version, want.Value)
				got := shown.FindStringSubmatch(r.out)
				if r.code != 0 || got == nil || fmt.Sprintf("%s, version %s, %s", got[1], got[2], got[3]) != line {
					t.Errorf("exit code %d, %s%s\nwant %s", r.code, r.out, r.err, line)
				}
				if strings.Contains(r.out+r.err, want.Value) {
					t.Error("the whole token is shown")
				}
			}
			held := s.Token(t, name)
			check(e.ask(t, s, name), held)
			s.Kill(t, name)
			r := e.ask(t, s, name, "report")
			next := s.Token(t, name)
			if check(r, next); next.Version != held.Version+1 {
				t.Errorf("version %d follows %d", next.Version, held.Version)
			}
			if r := e.ask(t, s, "nobody"); r.code == 0 || !strings.Contains(r.err, "nobody") {
				t.Errorf("for a token that does not exist: exit code %d, %s%s", r.code, r.out, r.err)
			}
		})
	}
}
