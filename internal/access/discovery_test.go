package access_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// provider is an OIDC provider over TLS, with an authority of its own.
type provider struct {
	*httptest.Server
	ca authority
	// asked counts requests for keys.
	asked atomic.Int64

	mu   sync.Mutex
	keys []byte
	// iss is what it says that it is; empty: its URL.
	iss string
	// bearer is what it wants to be shown; empty: nothing.
	bearer string
	// handle answers in the place of everything else, if it is set.
	handle http.HandlerFunc
}

func newProvider(t *testing.T, keys ...key) *provider {
	t.Helper()
	p := &provider{ca: newAuthority(t), keys: keySet(t, keys...)}
	p.Server = httptest.NewUnstartedServer(p)
	p.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	own := newKey(t, "")
	cert := p.ca.sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature}, own)
	p.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: own.private}}}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// set changes how it answers.
func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	keys, iss, bearer, handle := p.keys, p.iss, p.bearer, p.handle
	p.mu.Unlock()
	switch {
	case handle != nil:
		handle(w, r)
	case bearer != "" && r.Header.Get("Authorization") != "Bearer "+bearer:
		http.Error(w, "forbidden: "+r.Header.Get("Authorization"), http.StatusForbidden)
	case r.URL.Path == "/.well-known/openid-configuration":
		if iss == "" {
			iss = p.URL
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": iss, "jwks_uri": p.URL + "/openid/v1/jwks", "id_token_signing_alg_values_supported": []string{"RS256"}})
	case r.URL.Path == "/openid/v1/jwks":
		p.asked.Add(1)
		_, _ = w.Write(keys)
	default:
		http.NotFound(w, r)
	}
}

// issuer is the configuration for the provider.
func (p *provider) issuer(t *testing.T) access.Issuer {
	t.Helper()
	return access.Issuer{
		Name: "sso", Issuer: p.URL, Audiences: []string{"tokenbroker"}, Keys: access.KeySource{CAFile: file(t, "ca.pem", p.ca.pem())},
	}
}

// knownAtLast is known, however long this machine takes for the first answer.
func knownAtLast(t *testing.T, a *access.Authenticator, o access.Origin, ids ...access.Identity) {
	t.Helper()
	for {
		if _, err := a.Authenticate(t.Context(), o); !errors.Is(err, access.ErrIssuerAway) {
			known(t, a, o, ids...)
			return
		}
	}
}

func TestKeysAreFoundByOIDCDiscovery(t *testing.T) {
	k := newKey(t, "k1")
	p := newProvider(t, k)
	a := authenticator(t, access.Config{Issuers: []access.Issuer{p.issuer(t)}})
	knownAtLast(t, a, shown(k.sign(t, claims(map[string]any{"iss": p.URL}))), "jwt:sso:shop")
	refused(t, a, shown(newKey(t, "k1").sign(t, claims(map[string]any{"iss": p.URL}))), "signature of the bearer token is wrong")
}

// The issuer of a cluster's service accounts announces itself by a name that need not lead to it, asks who wants to know its keys, and
// has a certificate of the cluster's own authority.
func TestServiceAccountsOfKubernetesAreKnown(t *testing.T) {
	k := newKey(t, "k1")
	p := newProvider(t, k)
	p.set(func() { p.iss, p.bearer = "https://kubernetes.default.svc.cluster.local", "broker's own" })
	mine := file(t, "token", []byte("broker's own\n"))
	var log logbook
	a := authenticator(t, access.Config{Logger: log.logger(), Issuers: []access.Issuer{{
		Name: "k8s", Issuer: "https://kubernetes.default.svc.cluster.local", Audiences: []string{"tokenbroker"},
		Keys: access.KeySource{Discovery: p.URL, CAFile: file(t, "ca.crt", p.ca.pem()), BearerTokenFile: mine},
	}}})
	// As the TokenRequest API makes them for a projected volume.
	account := claims(map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local", "aud": []string{"tokenbroker"}, "sub": "system:serviceaccount:web:shop",
		"nbf": time.Now().Unix(), "jti": "f3a1", "kubernetes.io": map[string]any{
			"namespace": "web", "serviceaccount": map[string]any{"name": "shop", "uid": "1"}, "pod": map[string]any{"name": "shop-0", "uid": "2"},
		},
	})
	knownAtLast(t, a, shown(k.sign(t, account)), "jwt:k8s:system:serviceaccount:web:shop")
	account["aud"] = []string{"https://kubernetes.default.svc.cluster.local"} // the default token of a pod
	refused(t, a, shown(k.sign(t, account)), `have it made for "tokenbroker"`)
	if text := log.String(); text != "" {
		t.Errorf("logged is\n%s", text)
	}
}

// The server and its connections stand outside of the bubble: time passes in it only while nobody waits for them.
func TestFilesForDiscoveryAreReadAnew(t *testing.T) {
	k := newKey(t, "k1")
	p := newProvider(t, k)
	p.set(func() { p.bearer = "second" })
	i := p.issuer(t)
	i.Keys.BearerTokenFile = file(t, "token", []byte("first"))
	rewrite(t, i.Keys.CAFile, newAuthority(t).pem())
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		a := authenticator(t, access.Config{Issuers: []access.Issuer{i}, Logger: log.logger()})
		o := shown(k.sign(t, claims(map[string]any{"iss": p.URL})))
		refused(t, a, o, "cannot ask sso at present", "ask again later")
		if _, err := a.Authenticate(t.Context(), o); !errors.Is(err, access.ErrIssuerAway) {
			t.Errorf("it is not told from a token that is wrong: %v", err)
		}
		rewrite(t, i.Keys.CAFile, p.ca.pem())
		time.Sleep(2 * time.Minute)
		refused(t, a, o, "cannot ask sso at present")
		rewrite(t, i.Keys.BearerTokenFile, []byte("second"))
		time.Sleep(2 * time.Minute)
		known(t, a, o, "jwt:sso:shop")
		if text := log.String(); strings.Contains(text, "first") || strings.Contains(text, "second") || strings.Count(text, "level=WARN") != 1 {
			t.Errorf("logged is\n%s", text)
		}
	})
}

func TestIssuerThatIsAwayKeepsItsKeysAndIsAskedSeldom(t *testing.T) {
	first, second := newKey(t, "k1"), newKey(t, "k2")
	p := newProvider(t, first)
	i := p.issuer(t)
	synctest.Test(t, func(t *testing.T) {
		a := authenticator(t, access.Config{Issuers: []access.Issuer{i}})
		old := func() access.Origin { return shown(first.sign(t, claims(map[string]any{"iss": p.URL}))) }
		renewed := func() access.Origin { return shown(second.sign(t, claims(map[string]any{"iss": p.URL}))) }
		known(t, a, old(), "jwt:sso:shop")

		// Rotation: a token that names a new key makes the broker ask, at once if it has not asked just now.
		p.set(func() { p.keys = keySet(t, first, second) })
		refused(t, a, renewed(), "no key of the issuer sso")
		time.Sleep(6 * time.Second)
		known(t, a, renewed(), "jwt:sso:shop")
		known(t, a, old(), "jwt:sso:shop")

		// Made-up names of keys cause few requests, however many there are.
		before, began := p.asked.Load(), time.Now()
		for n := range 300 {
			refused(t, a, shown(newKey(t, "made up "+string(rune('a'+n%26))).sign(t, claims(map[string]any{"iss": p.URL}))), "no key of the issuer")
			time.Sleep(100 * time.Millisecond)
		}
		if asked, most := p.asked.Load()-before, int64(time.Since(began)/(5*time.Second))+1; asked > most || asked == 0 {
			t.Errorf("%d requests in %s", asked, time.Since(began))
		}

		// Away: what is known stays so for as long as it takes.
		p.set(func() {
			p.handle = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		})
		time.Sleep(time.Hour)
		known(t, a, old(), "jwt:sso:shop")
		refused(t, a, shown(newKey(t, "k3").sign(t, claims(map[string]any{"iss": p.URL}))), "cannot ask sso at present")

		// Back, and the first key is taken away: within the period nobody has to ask for it.
		p.set(func() { p.handle, p.keys = nil, keySet(t, second) })
		time.Sleep(11 * time.Minute)
		refused(t, a, old(), "no key of the issuer")
		known(t, a, renewed(), "jwt:sso:shop")
	})
}

func TestReloadKeepsTheKeysOfAnIssuerThatDidNotChange(t *testing.T) {
	k := newKey(t, "k1")
	p := newProvider(t, k)
	i := p.issuer(t)
	a := authenticator(t, access.Config{Issuers: []access.Issuer{i}})
	o := shown(k.sign(t, claims(map[string]any{"iss": p.URL})))
	knownAtLast(t, a, o, "jwt:sso:shop")
	p.Close()
	i.Audiences = append(i.Audiences, "more")
	if err := a.Configure(access.Config{Issuers: []access.Issuer{i}}); err != nil {
		t.Fatal(err)
	}
	known(t, a, o, "jwt:sso:shop")
}

func TestAnswersThatCannotBeBelievedAreNot(t *testing.T) {
	k := newKey(t, "k1")
	for name, tc := range map[string]struct {
		spoil func(*provider)
		words string
	}{
		"another issuer's": {func(p *provider) { p.iss = "https://evil.example.org" }, `of the issuer \"https://evil.example.org\"`},
		"a way elsewhere": {func(p *provider) {
			p.handle = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
			}
		}, "it answers 302 Found"},
		"keys over http": {func(p *provider) {
			p.handle = func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": "http://issuer.example.org/keys"})
			}
		}, "keys are believed over https only"},
		"no address of keys": {func(p *provider) {
			p.handle = func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL})
			}
		}, "asking for the keys"},
		"no JSON": {func(p *provider) {
			p.handle = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "s3cret") }
		}, "level=WARN"},
		"endless":   {func(p *provider) { p.keys = bytes.Repeat([]byte(" "), 3<<20) }, "no JSON Web Key Set"},
		"a refusal": {func(p *provider) { p.bearer = "s3cret" }, "it answers 403 Forbidden"},
		"private keys": {func(p *provider) {
			p.keys = []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`)
		}, "private key"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, k)
			tc.spoil(p)
			var log logbook
			a := authenticator(t, access.Config{Issuers: []access.Issuer{p.issuer(t)}, Logger: log.logger()})
			refused(t, a, shown(k.sign(t, claims(map[string]any{"iss": p.URL}))), "cannot ask sso at present")
			if text := log.String(); !strings.Contains(text, tc.words) || strings.Contains(text, "s3cret") || len(text) > 2000 {
				t.Errorf("logged is\n%.2000s", text)
			}
		})
	}
}

func TestIssuerThatDoesNotAnswerKeepsNobodyWaitingForLong(t *testing.T) {
	k := newKey(t, "k1")
	p := newProvider(t, k)
	release := make(chan struct{})
	p.set(func() { p.handle = func(http.ResponseWriter, *http.Request) { <-release } })
	defer close(release)
	var log logbook
	a := authenticator(t, access.Config{Issuers: []access.Issuer{p.issuer(t), local(file(t, "keys", keySet(t, k)))}, Logger: log.logger()})
	known(t, a, shown(k.sign(t, claims(nil))), "jwt:corp:shop") // of others nobody has to wait for it
	var all sync.WaitGroup
	began := time.Now()
	for range 20 {
		all.Go(func() {
			refused(t, a, shown(k.sign(t, claims(map[string]any{"iss": p.URL}))), "cannot ask sso at present")
		})
	}
	all.Wait()
	// Their patience ends before the attempt does, which has 10 s, and they do not wait one after the other.
	if text := log.String(); text != "" {
		t.Errorf("they waited %s, until there was logged\n%s", time.Since(began), text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Authenticate(ctx, shown(k.sign(t, claims(map[string]any{"iss": p.URL})))); !errors.Is(err, access.ErrIssuerAway) {
		t.Errorf("a caller who does not wait gets %v", err)
	}
}

func TestKeysAreAskedForWhereNobodyElseCanAnswer(t *testing.T) {
	for _, good := range []string{"https://issuer.example.org", "https://10.0.0.1:6443/realms/a", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"} {
		if err := access.ValidateDiscovery(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "issuer.example.org", "http://issuer.example.org", "http://10.0.0.1", "file:///etc/keys", "https://", "https://a@b", "https://a?b", "https://a#b", "https://a b"} {
		if access.ValidateDiscovery(bad) == nil {
			t.Errorf("%s would be asked", bad)
		}
	}
}
