package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

// door is a guard that refuses what the test says: to let in, or to let something leave.
type door struct{ admit, hand atomic.Pointer[error] }

func (d *door) Admit(context.Context, server.Method) (server.Visit, error) {
	if err := d.admit.Load(); err != nil {
		return nil, *err
	}
	return d, nil
}

func (d *door) Allow(string) error { return nil }

func (d *door) Hand(string, int64) error {
	if err := d.hand.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *door) End(error) {}

func behind(d *door) option {
	return func(_ *gateway.Config, c *server.Config) { c.Guard = d }
}

func TestRefusalsOfTheGuardAreStatusesAndErrcodes(t *testing.T) {
	d := &door{}
	s := newSite(t, behind(d))
	s.commit(stable, time.Hour)
	for _, c := range []struct {
		err             error
		http            int
		reason          string
		challenge, wait string
		errcode         int
		errmsg          string
	}{
		{server.Unauthenticated(access.ErrUnauthenticated), 401, "UNAUTHENTICATED", "Bearer", "", 40125, "invalid appsecret"},
		{server.Denied("no"), 403, "PERMISSION_DENIED", "", "", 40013, "invalid appid"},
		{server.Limited("slower", 2500*time.Millisecond), 429, "CALLER_LIMIT", "", "3", 45011, "api minute-quota reach limit must slower retry next minute"},
		{server.Unrecorded(), 503, "AUDIT_FULL", "", "2", -1, "system error"},
	} {
		for _, refuse := range []*atomic.Pointer[error]{&d.admit, &d.hand} {
			refuse.Store(&c.err)
			for _, path := range []string{"/v1/tokens/" + stable, "/v1/tokens", "/v1/tokens/" + stable + ":watch"} {
				r := s.do(http.MethodGet, path, "")
				if r.StatusCode != c.http || !strings.Contains(r.body, `"`+c.reason+`"`) || strings.Contains(r.body, "SECRET") ||
					r.Header.Get("WWW-Authenticate") != c.challenge || r.Header.Get("Retry-After") != c.wait {
					t.Errorf("%s, refused %s: %d, %v, %s", path, c.reason, r.StatusCode, r.Header, r.body)
				}
			}
			if got, text := s.ask(http.MethodPost, "/cgi-bin/stable_token", goodBody); got.Code != c.errcode || !strings.HasPrefix(got.Message, c.errmsg) {
				t.Errorf("refused %s: %s", c.reason, text)
			}
			refuse.Store(nil)
		}
	}
}

func TestStreamOfEventsThatIsEndedByTheGuardSaysWhy(t *testing.T) {
	d := &door{}
	s := newSite(t, behind(d))
	s.commit(stable, time.Hour)
	events := s.watch(stable)
	events.want("token", "1")
	denied := server.Denied("not any longer")
	d.hand.Store(&denied)
	s.commit(stable, time.Hour)
	if end, ok := events.next(); !ok || end.kind != "end" || !strings.Contains(end.data, "PERMISSION_DENIED") || strings.Contains(end.data, "SECRET") {
		t.Errorf("the end is %v", end)
	}
}
