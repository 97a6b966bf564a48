package access_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

func uri(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// svid is a certificate as SPIRE issues it.
func svid(t *testing.T, ids ...string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	for _, id := range ids {
		template.URIs = append(template.URIs, uri(t, id))
	}
	return template
}

func TestCertificateNamesItsCallerByTheKindsThatAreBelieved(t *testing.T) {
	ca, k := newAuthority(t), newKey(t, "")
	all := svid(t, "spiffe://example.org/ns/web/sa/shop")
	all.DNSNames, all.Subject = []string{"shop.example.org"}, pkix.Name{CommonName: "shop"}
	names := &x509.Certificate{DNSNames: []string{"Shop.Example.ORG", "till.example.org", "shop.example.org"}, Subject: pkix.Name{CommonName: "shop"}}
	plain := &x509.Certificate{Subject: pkix.Name{CommonName: "Kasse 1"}}
	other := &x509.Certificate{URIs: []*url.URL{uri(t, "https://example.org/shop")}, DNSNames: []string{"a"}}
	for name, tc := range map[string]struct {
		template *x509.Certificate
		kinds    []access.Name
		ids      []access.Identity // none: refused
	}{
		"SPIFFE by default":            {all, nil, []access.Identity{"spiffe://example.org/ns/web/sa/shop"}},
		"the first kind that it has":   {all, []access.Name{access.SPIFFE, access.DNS, access.CN}, []access.Identity{"spiffe://example.org/ns/web/sa/shop"}},
		"in the order that is wanted":  {all, []access.Name{access.CN, access.SPIFFE}, []access.Identity{"cn:shop"}},
		"each of its DNS names":        {names, []access.Name{access.SPIFFE, access.DNS, access.CN}, []access.Identity{"dns:shop.example.org", "dns:till.example.org"}},
		"DNS names that are not asked": {names, nil, nil},
		"a common name":                {plain, []access.Name{access.DNS, access.CN}, []access.Identity{"cn:Kasse 1"}},
		"a common name not asked for":  {plain, []access.Name{access.SPIFFE, access.DNS}, nil},
		"a URI of another kind":        {other, []access.Name{access.SPIFFE, access.DNS}, []access.Identity{"dns:a"}},
		"no name":                      {&x509.Certificate{}, []access.Name{access.SPIFFE, access.DNS, access.CN}, nil},
		"a wildcard":                   {&x509.Certificate{DNSNames: []string{"a.example.org", "*.example.org"}}, []access.Name{access.DNS}, nil},
		"a common name with a line":    {&x509.Certificate{Subject: pkix.Name{CommonName: "a\nb"}}, []access.Name{access.CN}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := authenticator(t, access.Config{Certificates: access.Certificates{Names: tc.kinds}})
			o := access.Origin{Certificate: ca.sign(t, tc.template, k)}
			if tc.ids == nil {
				refused(t, a, o, "client certificate", "; use ")
				return
			}
			if c := known(t, a, o, tc.ids...); !c.Expires.Equal(o.Certificate.NotAfter) {
				t.Errorf("it expires at %s", c.Expires)
			}
		})
	}
}

func TestSPIFFEIdIsTakenFromAValidSVIDOnly(t *testing.T) {
	ca, k := newAuthority(t), newKey(t, "")
	a := authenticator(t, access.Config{Certificates: access.Certificates{
		Names: []access.Name{access.SPIFFE, access.DNS, access.CN}, TrustDomains: []string{"example.org", "b.example.org"},
	}})
	for _, id := range []string{"spiffe://example.org/a", "spiffe://b.example.org/ns/A-1/sa/b_2.c", "spiffe://example.org/..."} {
		known(t, a, access.Origin{Certificate: ca.sign(t, svid(t, id), k)}, access.Identity(id))
	}
	// A certificate that is meant to be an SVID and is none is nobody's, whatever other names it has.
	spoil := func(change func(*x509.Certificate)) *x509.Certificate {
		template := svid(t, "spiffe://example.org/a")
		template.DNSNames, template.Subject = []string{"shop.example.org"}, pkix.Name{CommonName: "shop"}
		change(template)
		return template
	}
	for name, tc := range map[string]struct {
		template *x509.Certificate
		words    string
	}{
		"two ids":          {svid(t, "spiffe://example.org/a", "spiffe://example.org/b"), "2 URI SANs"},
		"another URI":      {svid(t, "https://example.org", "spiffe://example.org/b"), "2 URI SANs"},
		"an authority":     {spoil(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "an authority's"},
		"a signing key":    {spoil(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), "may sign certificates"},
		"revoking":         {spoil(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), "may sign certificates"},
		"key usage":        {spoil(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), "digitalSignature"},
		"no path":          {svid(t, "spiffe://example.org"), "no workload"},
		"an empty path":    {svid(t, "spiffe://example.org/"), "no workload"},
		"a trailing slash": {svid(t, "spiffe://example.org/a/"), "empty"},
		"an empty part":    {svid(t, "spiffe://example.org/a//b"), "empty"},
		"a relative part":  {svid(t, "spiffe://example.org/a/../b"), "relative"},
		"a dot":            {svid(t, "spiffe://example.org/./b"), "relative"},
		"an escape":        {svid(t, "spiffe://example.org/%61"), "other characters"},
		"an asterisk":      {svid(t, "spiffe://example.org/*"), "other characters"},
		"a colon":          {svid(t, "spiffe://example.org/a:b"), "other characters"},
		"a query":          {svid(t, "spiffe://example.org/a?b=c"), "other characters"},
		"a fragment":       {svid(t, "spiffe://example.org/a#b"), "other characters"},
		"a user":           {svid(t, "spiffe://user@example.org/a"), "no trust domain"},
		"a port":           {svid(t, "spiffe://example.org:80/a"), "no trust domain"},
		"upper case":       {svid(t, "spiffe://Example.org/a"), "no trust domain"},
		"no trust domain":  {svid(t, "spiffe:///a"), "no trust domain"},
		"a long id":        {svid(t, "spiffe://example.org/"+strings.Repeat("a", 2048)), "longer than 2048"},
		"another domain":   {svid(t, "spiffe://example.com/a"), `"example.com" is not among`},
		"a lower domain":   {svid(t, "spiffe://a.example.org/a"), "is not among"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, a, access.Origin{Certificate: ca.sign(t, tc.template, k)}, "no valid X.509-SVID", tc.words, "have it issued anew")
		})
	}
}

func TestCertificateIsGoodForItsTimeOnly(t *testing.T) {
	ca, k := newAuthority(t), newKey(t, "")
	synctest.Test(t, func(t *testing.T) {
		a := authenticator(t, access.Config{})
		template := svid(t, "spiffe://example.org/a")
		template.NotBefore, template.NotAfter = time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		o := access.Origin{Certificate: ca.sign(t, template, k)}
		refused(t, a, o, "not valid before")
		time.Sleep(time.Minute)
		known(t, a, o, "spiffe://example.org/a")
		time.Sleep(time.Hour) // on a connection that was made in time
		refused(t, a, o, "expired at", "renew it")
	})
}

func TestEveryCredentialThatIsBroughtMustBeValidAndEachIsAnIdentity(t *testing.T) {
	ca, k := newAuthority(t), newKey(t, "k1")
	secret := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	tokens, err := access.ParseTokens([]byte("ops " + hash(secret) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := authenticator(t, access.Config{Tokens: tokens, Issuers: []access.Issuer{local(file(t, "keys", keySet(t, k)))}})
	template := svid(t, "spiffe://example.org/a")
	template.NotBefore, template.NotAfter = longAgo, time.Now().Add(10*time.Minute)
	good, bad := ca.sign(t, template, k), ca.sign(t, &x509.Certificate{}, k)

	known(t, a, access.Origin{Peer: "10.0.0.1:1"}, access.Anonymous)
	if c := known(t, a, shown(secret), "token:ops"); !c.Expires.IsZero() {
		t.Errorf("a static token expires at %s", c.Expires)
	}
	known(t, a, access.Origin{Client: "till"}, "client:till")
	both := shown(secret)
	both.Certificate, both.Client = good, "till"
	if c := known(t, a, both, "spiffe://example.org/a", "token:ops", "client:till"); !c.Expires.Equal(good.NotAfter) {
		t.Errorf("it expires at %s", c.Expires)
	}
	both = shown(k.sign(t, claims(map[string]any{"exp": time.Now().Add(time.Minute).Unix()})))
	both.Certificate = good
	if c := known(t, a, both, "spiffe://example.org/a", "jwt:corp:shop"); time.Until(c.Expires) > time.Minute {
		t.Errorf("it expires at %s", c.Expires)
	}
	for _, o := range []access.Origin{
		{Certificate: good, Bearer: shown("nobody's").Bearer, Client: "till"},
		{Certificate: good, Bearer: shown(hash(secret)).Bearer}, // what the file holds is not the secret
		{Certificate: bad, Bearer: shown(secret).Bearer},
		{Certificate: bad, Client: "till"},
	} {
		refused(t, a, o)
	}
}
