package build_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// ask makes a call about a failpoint of the process, and returns the status and the answer; 0 while the process does not listen.
func (b *broker) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.points+"/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// awaitCount waits until the terms of a failpoint have come into effect so often.
func (b *broker) awaitCount(t *testing.T, name, count string) {
	t.Helper()
	eventually(t, "the count at "+name+" is "+count, func() bool {
		_, n := b.ask(t, http.MethodGet, name+"/count", "")
		return n == count
	})
}

func TestAProcessThatIsKilledWhileItSleepsAtAFailpointHasNoLastWords(t *testing.T) {
	h := newHouse(t)
	b := h.serve(t, "GOFAIL_FAILPOINTS=leaderAfterProclaim=1*sleep(60000)")
	b.awaitCount(t, "leaderAfterProclaim", "1")
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	b.exit(t)
	if keys := h.values(t, b, "election/"); len(keys) != 1 {
		t.Errorf("it left %d keys in the election, want the leader's", len(keys))
	}
}

func TestAFailpointIsArmedWhileTheProcessRuns(t *testing.T) {
	h := newHouse(t)
	b := h.serve(t, "GOFAIL_FAILPOINTS=storeBeforeSynced=off") // which only counts
	eventually(t, "two proofs are made", func() bool {
		_, answer := b.ask(t, http.MethodGet, "storeBeforeSynced/count", "")
		n, err := strconv.Atoi(answer)
		return err == nil && n >= 2
	})
	if status, answer := b.ask(t, http.MethodPut, "storeBeforeSynced", "panic"); status != http.StatusNoContent {
		t.Fatalf("arming ended with status %d: %s", status, answer)
	}
	if code := b.exit(t); code != 2 {
		t.Errorf("it ended with exit code %d, want 2", code)
	}
}

func TestAWriteWhoseAnswerIsLostIsFoundDone(t *testing.T) {
	h := newHouse(t)
	b := h.serve(t, "GOFAIL_FAILPOINTS=storeAnswerLost=2*return") // BEGIN's answer, and that of its repetition
	eventually(t, "the token is committed", func() bool {
		records := h.values(t, b, "token/shop")
		return len(records) == 1 && strings.Contains(records[0], `"version":1`)
	})
	b.awaitCount(t, "storeAnswerLost", "2")
}
