package main

// gatewayConfig is the API over HTTP: as JSON, and in WeChat's manner.
type gatewayConfig struct {
	// Listen is host:port as in grpcConfig. Empty: there is no gateway.
	Listen string
	// AnyMode: a WeChat-compatible request of one mode may be answered with a token of the other.
	AnyMode bool
}

func (s *section) gateway(plaintext bool) gatewayConfig {
	listen, compatible := s.get("listen"), s.section("wechat")
	c := gatewayConfig{Listen: listen.hostPort("", false), AnyMode: compatible.get("any_mode").boolean(false)}
	listen.checkPlaintext(c.Listen, plaintext)
	if s.present && !s.broken && !listen.given {
		listen.fail("this is required", "write host:port, such as 127.0.0.1:7710, or take the section away")
	}
	compatible.end()
	s.end()
	return c
}
