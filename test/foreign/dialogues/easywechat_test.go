package dialogues_test

import (
	"fmt"
	"net/url"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// easyWeChat is what w7corp/easywechat 6 sends through Symfony's HttpClient on curl. It takes whatever has no access_token for a failure,
// whatever the status, and keeps a token for as long as it lives. The stable call's host stands in the code, and is not changed by
// http.base_uri: it is replayed as a proxy in between would send it.
func easyWeChat() []dialogue {
	const source = "src/OfficialAccount/AccessToken.php (MiniApp/AccessToken.php inherits it)"
	client := []string{"Accept: */*", "User-Agent: Symfony HttpClient (Curl)", "Accept-Encoding: gzip"}
	read := func(a answer) (grant, error) {
		m, err := object(a.body)
		if err != nil {
			return grant{}, err
		}
		if m["access_token"] == nil || m["access_token"] == "" {
			code, err := whole(m, "errcode", 0) // thrown as a part of the message
			if err != nil {
				return grant{}, err
			}
			return grant{}, &refusal{code}
		}
		return ordinary(a, less(0))
	}
	return []dialogue{
		{
			sdk: "EasyWeChat, http.base_uri", source: source, token: site.Classic, read: read,
			request: func(a asked) string {
				query := "grant_type=client_credential&appid=" + url.QueryEscape(a.appid) + "&secret=" + url.QueryEscape(a.secret)
				return lines("", append([]string{"GET /cgi-bin/token?" + query + " HTTP/1.1", "Host: " + a.host}, client...)...)
			},
		},
		{
			sdk: "EasyWeChat, use_stable_access_token", source: source, token: site.Stable, read: read,
			request: func(a asked) string {
				body := fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q,"force_refresh":%t}`, a.appid, a.secret, a.force)
				return post(body, append([]string{
					"POST /cgi-bin/stable_token HTTP/1.1", "Host: " + a.host, "Content-Type: application/json",
				}, client...)...)
			},
		},
	}
}
