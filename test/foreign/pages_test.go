//go:build foreign

package foreign_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// The code that the pages of docs/sdk tell users to write, for SDKs that cannot be had here: programs in pages/ stand for them, as far as
// that code touches them.
func TestCodeOfThePagesGetsTokensAndReportsDeadOnes(t *testing.T) {
	for _, c := range []struct {
		language, page, marker, program, file string
		command                               []string
	}{
		{"python", "wechatpy", "class BrokerClient", "wechatpy.txt", "page.py", []string{"python3"}},
		{"php", "easywechat", "class BrokerToken", "easywechat.txt", "page.php", []string{"php"}},
		{"java", "wxjava", "class BrokerConfig", "wxjava.txt", "Page.java", []string{"java"}},
	} {
		if without(c.language) {
			continue
		}
		for _, page := range []string{c.page + ".md", c.page + ".zh-CN.md"} {
			t.Run(page, func(t *testing.T) {
				s := site.New(t, program)
				url := s.HTTP + "/v1/tokens/" + site.Stable
				code := strings.ReplaceAll(block(t, page, c.marker), "http://127.0.0.1:7710/v1/tokens/shop", url)
				code = strings.ReplaceAll(code, "public class", "class") // all of it is in one file
				text := strings.Replace(read(t, "pages", c.program), "PAGE\n", code, 1)
				file := filepath.Join(t.TempDir(), c.file)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				first := s.Token(t, site.Stable)
				env := []string{"PYTHONPATH=" + absolute(t, "pages"), "PYTHONDONTWRITEBYTECODE=1"}
				r := run(t, env, c.command[0], append(c.command[1:], file, url, s.Upstream+"/_sim/kill")...)
				second := s.Token(t, site.Stable)
				if want := first.Value + "\n" + second.Value + "\n"; r.code != 0 || r.out != want || second.Version != first.Version+1 {
					t.Errorf("exit code %d, version %d follows %d:\n%s%s\nwant\n%s", r.code, second.Version, first.Version, r.out, r.err, want)
				}
			})
		}
	}
}

// block returns the block of code of a page that has the marker in it.
func block(t *testing.T, page, marker string) string {
	t.Helper()
	for i, part := range strings.Split(read(t, root, "docs", "sdk", page), "\n```") {
		if _, code, _ := strings.Cut(part, "\n"); i%2 == 1 && strings.Contains(code, marker) {
			return code + "\n"
		}
	}
	t.Fatalf("%s has no block with %q", page, marker)
	return ""
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
