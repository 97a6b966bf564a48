package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
)

var (
	errHost = httpError(http.StatusForbidden, codes.PermissionDenied,
		"the gateway listens on a loopback address, and takes requests to an IP address or to localhost only; a proxy before it must send such a Host")
	errCrossOrigin = httpError(http.StatusForbidden, codes.PermissionDenied, "a web page of another origin cannot order anything")
)

// onLoopback reports whether a listener is there for this host alone, over TCP. Its browsers can connect, too; to unix sockets they cannot.
func onLoopback(l net.Listener) bool {
	at, ok := l.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

// foreign is the refusal of a request that a browser may have sent for a page of somebody else; nil for other requests.
//
// A page can have the name of its own site lead to a loopback address (DNS rebinding), and then read whatever is answered there. The browser
// still says that name as the Host, so where this host alone is served no name counts but localhost. A page that does not do so can read
// no answer, since none allows it to, but could send orders blindly.
func foreign(r *http.Request, loopback bool) error {
	if loopback && !isOwnHost(r.Host) {
		return errHost
	}
	if new(http.CrossOriginProtection).Check(r) != nil {
		return errCrossOrigin
	}
	return nil
}

// isOwnHost reports whether a Host, with or without a port, is one that nobody can make lead elsewhere.
func isOwnHost(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	_, err := netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost")
}
