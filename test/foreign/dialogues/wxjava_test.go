package dialogues_test

import (
	"fmt"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// wxJava is what binarywang/WxJava 4.7 sends through Apache HttpClient, its default. It formats appid and secret into the URL as they are,
// and reads with Gson: errcode, then an int. It keeps a token for 200 s less than it lives.
func wxJava() []dialogue {
	const mp, ma = "weixin-java-mp/src/main/java/me/chanjar/weixin/mp/", "weixin-java-miniapp/src/main/java/cn/binarywang/wx/miniapp/"
	client := []string{"Connection: Keep-Alive", "User-Agent: Apache-HttpClient/4.5.13 (Java/17.0.15)", "Accept-Encoding: gzip,deflate"}
	get := func(a asked) string {
		return lines("", append([]string{
			fmt.Sprintf("GET /cgi-bin/token?grant_type=client_credential&appid=%s&secret=%s HTTP/1.1", a.appid, a.secret), "Host: " + a.host,
		}, client...)...)
	}
	stable := func(a asked) string {
		body := fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q,"force_refresh":%t}`, a.appid, a.secret, a.force)
		return post(body, append([]string{
			"POST /cgi-bin/stable_token HTTP/1.1", "Content-Type: application/json; charset=UTF-8", "Host: " + a.host,
		}, client...)...)
	}
	read := func(a answer) (grant, error) { return ordinary(a, less(200)) }
	return []dialogue{
		{
			sdk: "WxJava mp, apiHost", source: mp + "api/impl/WxMpServiceHttpClientImpl.java, config/WxMpHostConfig.java",
			token: site.Classic, request: get, read: read,
		},
		{
			sdk: "WxJava mp, stable", source: mp + "api/impl/WxMpServiceHttpClientImpl.java, bean/WxMpStableAccessTokenRequest.java",
			token: site.Stable, request: stable, read: read,
		},
		{
			sdk: "WxJava miniapp, accessTokenUrl", source: ma + "api/impl/WxMaServiceHttpClientImpl.java",
			token: site.Classic, request: get, read: read,
		},
		{
			sdk: "WxJava miniapp, accessTokenUrl, stable", source: ma + "api/impl/WxMaServiceHttpClientImpl.java, bean/WxMaStableAccessTokenRequest.java",
			token: site.Stable, request: stable, read: read,
		},
	}
}
