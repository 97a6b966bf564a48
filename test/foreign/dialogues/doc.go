// Package dialogues replays what SDKs for WeChat send when they want an access token, byte by byte, against a real broker, and reads the
// answers as those SDKs do. None of them is run: what stands here was read off their sources, which each dialogue names. Header lines are
// those that the SDK's HTTP library adds by itself.
//
// What is proved is that the broker understands the request and that the SDK understands the answer: the token, an error, and for how long
// the SDK will keep it. How each is pointed at the broker is told in docs/sdk.
package dialogues
