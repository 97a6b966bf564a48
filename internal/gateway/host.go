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
// still says that name as the Host, so where this host alone is served without TLS no name counts but localhost, and on WeChat's paths that
// of WeChat, which some SDKs go on sending when only the address has been changed. A page that does not do so can read no answer, since
// none allows it to, but could send orders blindly.
//
// With TLS a browser ends the connection by itself: the certificate is not of that site. And who serves by TLS on loopback has a name for it.
func foreign(r *http.Request, loopback bool) error {
	name := (&url.URL{Host: r.Host}).Hostname()
	if loopback && !isOwnHost(name) && !(isWeChatPath(r.URL.Path) && strings.EqualFold(name, weChatHost)) {
		return errHost
	}
	if new(http.CrossOriginProtection).Check(r) != nil {
		return errCrossOrigin
	}
	return nil
}

// weChatHost is a name that only WeChat, whose tokens they are, can make lead elsewhere.
const weChatHost = "api.weixin.qq.com"

// isOwnHost reports whether a Host without its port is one that nobody can make lead elsewhere.
func isOwnHost(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost")
}
