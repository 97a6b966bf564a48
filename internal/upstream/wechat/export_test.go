package wechat

// Read judges the body of an answer, for the fuzzer: no socket is as fast.
var Read = (*Client).read
