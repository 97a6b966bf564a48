package dialogues_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// dialogue is how one SDK asks for one kind of token.
type dialogue struct {
	// sdk says which, and source where in its public repository the request is made.
	sdk, source string
	// token is the name of the token that it should get.
	token string
	// request is the request as it goes over the wire.
	request func(asked) string
	// read is how the SDK reads the answer. An answer that the SDK takes for a failure is a *refusal.
	read func(answer) (grant, error)
	// uncached: the SDK cannot keep what the broker promises, and will ask each time.
	uncached bool
}

// grant is a token as an SDK has understood it.
type grant struct {
	token string
	life  time.Duration // what the answer said
	kept  time.Duration // for how long the SDK will not ask again
}

// refusal is an error of WeChat's as an SDK has understood it.
type refusal struct{ code int64 }

// Error tells the code.
func (r *refusal) Error() string { return fmt.Sprintf("errcode %d", r.code) }

func dialogues() []dialogue {
	return append(append(append(wxJava(), easyWeChat()...), goSDKs()...), scripted()...)
}

func TestEverySDKGetsItsToken(t *testing.T) {
	s := site.New(t, program)
	for _, d := range dialogues() {
		t.Run(d.sdk, func(t *testing.T) {
			t.Logf("as %s has it", d.source)
			w := dial(t, s.HTTP)
			for _, try := range []string{"first", "second, on the same connection"} {
				got, err := d.read(w.say(t, d.request(asked{host: w.host, appid: site.AppID, secret: s.Secret})))
				if err != nil {
					t.Fatalf("%s request: %v", try, err)
				}
				if want := s.Token(t, d.token).Value; got.token != want {
					t.Errorf("%s request: got another token than that of %s", try, d.token)
				}
				if got.kept > got.life {
					t.Errorf("%s request: it is kept for %v, and lives %v", try, got.kept, got.life)
				}
				if cached := got.kept > 0; cached == d.uncached {
					t.Errorf("%s request: of %v it is kept for %v", try, got.life, got.kept)
				}
			}
		})
	}
}

func TestEverySDKUnderstandsARefusal(t *testing.T) {
	s := site.New(t, program)
	for _, d := range dialogues() {
		t.Run(d.sdk, func(t *testing.T) {
			t.Logf("as %s has it", d.source)
			w := dial(t, s.HTTP)
			for _, c := range []struct {
				appid, secret string
				code          int64
			}{
				{site.AppID, "0f1e2d3c4b5a69788796a5b4c3d2e1f0", 40125}, // the AppSecret is not what opens the broker
				{site.ForeignAppID, s.Secret, 40013},
				{site.ForeignAppID, "wrong", 40125},
			} {
				got, err := d.read(w.say(t, d.request(asked{host: w.host, appid: c.appid, secret: c.secret})))
				if refused, ok := err.(*refusal); !ok || refused.code != c.code { //nolint:errorlint // never wrapped
					t.Errorf("appid %s: got %v, %v, want %d", c.appid, got.token != "", err, c.code)
				}
			}
		})
	}
}

func TestForcedRefreshReplacesADeadTokenAndNoLivingOne(t *testing.T) {
	s := site.New(t, program)
	dead := s.Kill(t, site.Stable)
	var next string
	for _, d := range dialogues() {
		if d.token != site.Stable {
			continue
		}
		w := dial(t, s.HTTP)
		got, err := d.read(w.say(t, d.request(asked{host: w.host, appid: site.AppID, secret: s.Secret, force: true})))
		// A fetch may take longer than a caller is kept waiting. He is told to try again, which burns nothing.
		for deadline := time.Now().Add(time.Minute); busy(err) && time.Now().Before(deadline); {
			got, err = d.read(w.say(t, d.request(asked{host: w.host, appid: site.AppID, secret: s.Secret, force: true})))
		}
		if err != nil || got.token == dead.Value || next != "" && got.token != next {
			t.Errorf("%s: got the dead token, or a second new one, %v", d.sdk, err)
		}
		next = got.token
	}
	if v := s.Token(t, site.Stable).Version; v != dead.Version+1 {
		t.Errorf("version %d follows %d", v, dead.Version)
	}
}

// busy reports whether WeChat's answer was that the system is busy, and the caller should try again.
func busy(err error) bool {
	refused, ok := err.(*refusal) //nolint:errorlint // never wrapped
	return ok && refused.code == -1
}
