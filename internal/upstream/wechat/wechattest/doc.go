// Package wechattest is a simulated WeChat and the judge of every test that runs against it.
//
// A WeChat is an http.Handler that answers as api.weixin.qq.com does, for tests with sockets and for `broker dev`. The handler is a
// thin layer over methods that issue and check tokens without any socket, for simulations on a fake clock. Both write the same
// record: which token was issued when, and in which interval of time it was alive. The package imports nothing of ours, so that no
// mistake of the broker's can be repeated in its judge.
//
// # What is simulated
//
// The classic endpoint, GET /cgi-bin/token: every fetch rotates. The predecessor lives Config.Overlap longer at most, the one before
// it dies at once: only the two newest live.
//
// The stable endpoint, POST /cgi-bin/stable_token: a call returns the same token with its true remaining life; a call in the last
// Overlap of that life returns a new one, and both are valid for Overlap from then on, which is what WeChat promises even if the old
// one would have ended sooner. force_refresh kills all earlier stable tokens at once; it is done ForcedPerDay times a day at most and
// ForcedSpacing apart, and otherwise silently is an ordinary call. The two endpoints know nothing of each other's tokens.
//
// Where WeChat's documentation leaves two readings open, the simulation takes the one that is harder on the broker: a classic
// predecessor never outlives its own stated end, and one forced refresh kills every earlier token.
//
// GET /cgi-bin/get_api_domain_ip and GET /cgi-bin/user/get answer 40014 for a token that never was, 42001 for one that ended when it
// was said to, and 40001 for one that died before. POST /cgi-bin/clear_quota/v2 empties the day's counters. Days are those of
// Asia/Shanghai. Every error carries a request id ("rid: ...") at the end of its errmsg.
//
// # Control from another process
//
// With Config.Control the handler also serves, without any authentication, what hands out tokens and breaks things; on loopback only:
//
//	POST   /_sim/fault    a Fault as JSON, with "delay" as in "1.5s": {"endpoint":"token","kind":"hang","when":"after","times":1}
//	GET    /_sim/fault    the standing faults
//	DELETE /_sim/fault    ends all faults and lets go of what they hold
//	POST   /_sim/foreign  {"appid":"..","endpoint":"token"}: somebody else fetches
//	POST   /_sim/kill     {"token":".."}: it dies now
//	POST   /_sim/account  {"appid":"..","secret":"..","refuse":40243,"whitelist":["10.0.0.0/8"]}: changes what is given
//	GET    /_sim/judge    a Report: the clock, every token ever issued, and all counts
//	GET    /_sim/judge?token=..&at=2006-01-02T15:04:05Z    a Verdict on one token, at the given time or now
package wechattest
