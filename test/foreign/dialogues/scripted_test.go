package dialogues_test

import (
	"errors"
	"strings"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// scripted are the SDKs for Python and Node.
func scripted() []dialogue {
	return []dialogue{
		{
			// requests, with the parameters in the order of the dict. The margin is 60 s.
			sdk: "wechatpy, fetch_access_token", source: "wechatpy/wechatpy: wechatpy/client/base.py, __init__.py", token: site.Classic,
			request: func(a asked) string {
				return lines("", "GET /cgi-bin/token?grant_type=client_credential&appid="+a.appid+"&secret="+a.secret+" HTTP/1.1",
					"Host: "+a.host, "User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive")
			},
			read: func(a answer) (grant, error) { return ordinary(a, less(60)) },
		},
		{
			// httpx on Node's http. A body is an object only under the right content type; control characters and backslashes in it
			// are escaped before it is parsed, so that an answer with any of them would be lost.
			sdk: "co-wechat-api, prefix", source: "node-webot/co-wechat-api: lib/api_common.js, lib/util.js", token: site.Classic,
			request: func(a asked) string {
				return lines("", "GET /cgi-bin/token?grant_type=client_credential&appid="+a.appid+"&secret="+a.secret+" HTTP/1.1",
					"Host: "+a.host, "Connection: keep-alive")
			},
			read: func(a answer) (grant, error) {
				switch {
				case !strings.Contains(a.contentType, "application/json"):
					return grant{}, errors.New("the body would not be parsed")
				case strings.ContainsFunc(a.body, func(r rune) bool { return r < ' ' || r == '\\' }):
					return grant{}, errors.New("the body would be spoilt")
				}
				return ordinary(a, less(10))
			},
		},
	}
}
