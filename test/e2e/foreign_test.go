package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// TestForeignFetchIsNoticedByAskingAndExplained: no caller reports anything.
func TestForeignFetchIsNoticedByAskingAndExplained(t *testing.T) {
	t.Parallel()
	const every = 10 * time.Second
	s := newSite(t, 1, wechattest.Config{TokenLife: shortLife, Overlap: shortOverlap})
	tokens := account(classic, "classic", "wx-classic", s.upstream, fmt.Sprintf("max_life: %v, overlap: %v", shortLife, shortOverlap))
	s.serve(t, 3, strings.Replace(tokens, "{name:", fmt.Sprintf("{verify: {every: %v}, name:", every), 1), classic)
	old := firstToken(t, s.brokers[0], classic)
	if err := s.wechat.Await(t.Context(), func() bool { return s.wechat.Requests(wechattest.DomainIP) > 0 }); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.brokers {
		if got := firstToken(t, b, classic).GetVersion(); got != old.GetVersion() {
			t.Errorf("%s hands out version %d after WeChat said that version %d lives", b.id, got, old.GetVersion())
		}
	}

	// Another system fetches twice, which ends the token at once.
	for range 2 {
		if _, err := s.wechat.ForeignFetch("wx-classic", wechattest.Classic); err != nil {
			t.Fatal(err)
		}
	}
	asked, died := s.wechat.Requests(wechattest.DomainIP), time.Now()
	for _, b := range s.brokers {
		st := follow(t, b, classic)
		st.await(t, old.GetVersion()+1)
	}
	t.Logf("a new token was served everywhere %v after the old one had died", time.Since(died).Round(time.Millisecond))
	if n := s.wechat.Requests(wechattest.DomainIP) - asked; n != 1 {
		t.Errorf("WeChat was asked %d times until the death was noticed, want once", n)
	}
	for _, b := range s.brokers {
		if got := firstToken(t, b, classic); s.wechat.Check(got.GetAccessToken()) != nil {
			t.Errorf("%s hands out a dead token", b.id)
		}
	}

	// Every replica says so, in numbers and words; one line of one log.
	const meaning = "another system refreshes this app's token"
	logged := 0
	for _, b := range s.brokers {
		deaths := b.status(t).GetTokens()[0].GetEarlyDeaths()
		if deaths.GetCount() != 1 || !strings.Contains(deaths.GetMeaning(), meaning) || !strings.Contains(deaths.GetRemedy(), "move it to this broker; or use stable mode") {
			t.Errorf("%s tells of early deaths: %v", b.id, deaths)
		}
		if r := command(t, "status", "--server", b.grpc); r.code != 0 || !strings.Contains(r.out, "found dead before its time 1 time") || !strings.Contains(r.out, meaning) ||
			!strings.Contains(r.out, "what to do: "+deaths.GetRemedy()) {
			t.Errorf("the status at %s ends with exit code %d:\n%s", b.id, r.code, r.out)
		}
		if _, page := fetch(t, "http://"+b.http+"/metrics"); !strings.Contains(page, `tokenbroker_token_early_deaths_total{token="`+classic+`"} 1`) {
			t.Errorf("the metrics of %s do not count it", b.id)
		}
		logged += strings.Count(b.err.String(), `msg="the token died before its time"`)
	}
	if logged != 1 {
		t.Errorf("logged %d times, want once", logged)
	}
}
