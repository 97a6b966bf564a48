package dialogues_test

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// goSDKs are those that are written in Go, and use net/http.
func goSDKs() []dialogue {
	client := []string{"User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"}
	get := func(a asked, query string) string {
		return lines("", append([]string{"GET /cgi-bin/token?" + query + " HTTP/1.1", "Host: " + a.host}, client...)...)
	}
	plain := func(a asked) string {
		return get(a, "grant_type=client_credential&appid="+a.appid+"&secret="+a.secret)
	}
	return []dialogue{
		{
			// 1500 s less than the promise of a classic token is less than nothing.
			sdk: "silenceper, SetURIModifier", source: "silenceper/wechat v2: credential/default_access_token.go, util/http.go",
			token: site.Classic, request: plain, uncached: true,
			read: func(a answer) (grant, error) { return strict(a, less(1500)) },
		},
		{
			sdk: "silenceper, SetURIModifier, stable", source: "silenceper/wechat v2: credential/default_access_token.go, util/http.go",
			token: site.Stable,
			request: func(a asked) string {
				// A map, so that the keys are sorted, and an Encoder, which ends the line.
				body := fmt.Sprintf(`{"appid":"%s","force_refresh":%t,"grant_type":"client_credential","secret":"%s"}`+"\n", a.appid, a.force, a.secret)
				return post(body, append([]string{
					"POST /cgi-bin/stable_token HTTP/1.1", "Host: " + a.host, "Content-Type: application/json;charset=utf-8",
				}, client...)...)
			},
			read: func(a answer) (grant, error) { return strict(a, less(300)) },
		},
		{
			// The Host is that of http.base_uri, and not of EndpointToGetToken; and there is one parameter that WeChat does not know.
			sdk: "PowerWeChat, EndpointToGetToken", token: site.Classic,
			source: "ArtisanCloud/PowerWeChat v3: src/kernel/accessToken.go; ArtisanCloud/PowerLibs v3: http/dataflow/dataflow.go",
			request: func(a asked) string {
				query := url.Values{
					"grant_type": {"client_credential"}, "appid": {a.appid}, "secret": {a.secret}, "neededText": {""},
				}.Encode()
				return lines("", append([]string{
					"GET /cgi-bin/token?" + query + " HTTP/1.1", "Host: api.weixin.qq.com", "Accept: */*",
				}, client...)...)
			},
			read: func(a answer) (grant, error) { return strict(a, less(0)) },
		},
		{
			sdk: "chanxuehong, http.Client", source: "chanxuehong/wechat: mp/core/access_token_server.go", token: site.Classic, request: plain,
			read: func(a answer) (grant, error) { return strict(a, chanxuehong) },
		},
	}
}

// chanxuehong is how long that SDK keeps a token. One of a minute or less is an error.
func chanxuehong(seconds int64) (int64, error) {
	switch {
	case seconds > 31556952:
		return 0, errors.New("expires_in too large")
	case seconds > 60*60:
		return seconds - 60*10, nil
	case seconds > 60*30:
		return seconds - 60*5, nil
	case seconds > 60*5:
		return seconds - 60, nil
	case seconds > 60:
		return seconds - 10, nil
	default:
		return 0, errors.New("expires_in too small")
	}
}
