package logtest_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
)

func TestWhatManyWriteIsThereLineByLine(t *testing.T) {
	var b logtest.Buffer
	var writers sync.WaitGroup
	for writer := range 8 {
		writers.Go(func() {
			log := slog.New(slog.NewTextHandler(&b, nil))
			for i := range 50 {
				log.Info("said", "writer", writer, "i", i)
				_ = b.String()
			}
		})
	}
	writers.Wait()
	if n := strings.Count(b.String(), "\n"); n != 400 {
		t.Errorf("%d lines, want 400", n)
	}
	if found := b.Lines("writer=3", "i=49"); len(found) != 1 {
		t.Errorf("found %q, want one line", found)
	}
}

func TestLinesAreThoseWithAllOfTheTexts(t *testing.T) {
	var b logtest.Buffer
	if got := b.Lines(); len(got) != 0 {
		t.Errorf("nothing was written: %q", got)
	}
	_, _ = fmt.Fprint(&b, "a b\nb c\na c b")
	for _, test := range []struct {
		texts, want []string
	}{
		{nil, []string{"a b\n", "b c\n", "a c b"}},
		{[]string{"a", "b"}, []string{"a b\n", "a c b"}},
		{[]string{"a", "d"}, nil},
	} {
		if got := b.Lines(test.texts...); !slices.Equal(got, test.want) {
			t.Errorf("with %q: %q, want %q", test.texts, got, test.want)
		}
	}
}
