package access

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// maxAnswer bounds what is read of a key set and of other small files and answers, in bytes.
const maxAnswer = 1 << 20

// KeySource says where an issuer's keys are: in a file, or where OIDC discovery tells.
type KeySource struct {
	// File is a JSON Web Key Set. It is read anew when it changes.
	File string
	// Discovery is the URL at which /.well-known/openid-configuration is, if there is no File: https, or http on loopback. What is found
	// there must be the issuer's. Default: the issuer itself.
	Discovery string
	// CAFile has the authorities for Discovery in PEM form; default: the system's.
	CAFile string
	// BearerTokenFile is shown at Discovery and where that says the keys are, over https only: a Kubernetes API server wants it.
	// Both files are read for each attempt.
	BearerTokenFile string
}

// String says what the source is.
func (s KeySource) String() string {
	if s.File != "" {
		return s.File
	}
	return s.Discovery
}

// period is the time between two loads when all is well.
func (s KeySource) period() time.Duration {
	if s.File != "" {
		return rest
	}
	return 10 * time.Minute
}

func (s KeySource) validate() error {
	if s.File != "" {
		return nil
	}
	return ValidateDiscovery(s.Discovery)
}

// ValidateDiscovery checks a URL to ask for keys: nobody on the way must be able to change the answer.
func ValidateDiscovery(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%.80q is no https URL that ends with host, port or path", text)
	case !safe(u):
		return fmt.Errorf("keys are believed over https only, and %.80q is not", text)
	}
	return nil
}

// safe reports whether nobody else can answer in the place of a URL's host.
func safe(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// read returns the text of the key set.
func (s KeySource) read(ctx context.Context, iss string) ([]byte, error) {
	if s.File != "" {
		return readFile(s.File)
	}
	client, done, err := s.client()
	if err != nil {
		return nil, err
	}
	defer done()
	// The issuer may announce itself under another URL than it is asked at; whether that is the right one is checked below.
	provider, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(oidc.ClientContext(ctx, client), iss), s.Discovery)
	if err != nil {
		return nil, fmt.Errorf("asking for the OIDC discovery: %w", err)
	}
	var found struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := provider.Claims(&found); err != nil {
		return nil, fmt.Errorf("reading the OIDC discovery at %s: %w", s.Discovery, err)
	}
	if found.Issuer != iss {
		return nil, fmt.Errorf("the OIDC discovery at %s is of the issuer %.200q, not of %q; write the issuer as it is there", s.Discovery, found.Issuer, iss)
	}
	return fetch(ctx, client, found.Keys)
}

// fetch gets a document.
func fetch(ctx context.Context, client *http.Client, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys at the jwks_uri %.200q: %w", from, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the keys at %s: %w", from, err)
	}
	return data, nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return data, nil
}
