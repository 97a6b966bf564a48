// Package wechat fetches WeChat access tokens.
//
// WeChat has two endpoints, isolated from each other: their tokens are valid side by side.
//
// Stable, POST /cgi-bin/stable_token, is idempotent: repeated calls return the same token with its true remaining life, and a call in
// its last five minutes returns a new one, both being valid for five minutes. So a fetch before the window brings the same value with
// a shorter life; that is a success. force_refresh kills the token at once, 20 times a day and 30 s apart at most; beyond that WeChat
// silently answers as to an ordinary call.
//
// Classic, GET /cgi-bin/token, rotates: every processed call issues a token and leaves the previous one five minutes, and probably
// only the two newest live.
//
// # Answers
//
// WeChat refuses with HTTP status 200, so errcode is looked for first. What a code means, what to do about it, and whether it is
// certain that nothing was issued, is in one table (refusals). Nothing was issued for certain only with a code that WeChat documents
// for fetching; with -1 (busy) and with every code that is not in the table the outcome is unknown. Such a code is classed as
// transient: nothing says that it will not pass, and retrying with growing pauses is the one treatment that is right whether it does
// or not. Its remedy asks a human to look it up.
//
// An answer is believed only if it is one JSON object without repeated fields, access_token is 1 to 4096 visible ASCII characters,
// and expires_in is a positive integer. A life is never overstated: one beyond Config.MaxLife counts as MaxLife, which is the longest
// that WeChat documents. The token is not thrown away for it, because on the classic endpoint that would cost the living one, too.
//
// WeChat's request id ("rid: ..."), for which its support asks, is kept in every Failure's Message.
//
// Sources: developers.weixin.qq.com, "Get access token", "Get stable access token" and the list of global return codes.
package wechat
