package site_test

import (
	"context"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

func TestALeaderThatEtcdDoesNotHearLosesTheLead(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for name, breaks := range map[string]func(*site.Broker){
		"cut":     func(b *site.Broker) { b.Etcd.Cut() },
		"unheard": func(b *site.Broker) { b.Etcd.Hold(netfault.ToServer) },
	} {
		t.Run(name, func(t *testing.T) {
			b := leader(t, s)
			breaks(b)
			leader(t, s, b)
			if err := get(t, b, stable, ample); err != nil {
				t.Errorf("cut off from etcd, %s does not answer from memory: %v", b.ID, err)
			}
			b.Etcd.Heal()
			// Healed, it takes orders to the leader.
			eventually(t, b.ID+" is back", func(context.Context) bool { return refresh(t, b, false) == nil })
		})
	}
}

func TestWeChatSeesEachBrokerAtAnAddressOfItsOwn(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	b := leader(t, s)
	for _, other := range s.Brokers {
		if other == b {
			continue
		}
		if err := s.WeChat.AddFault(wechattest.Fault{Kind: wechattest.Errcode, Code: 40164, Client: other.Address}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(s.WeChat.History())
	eventually(t, "the leader fetches", func(context.Context) bool { return refresh(t, b, true) == nil })
	if fresh := s.WeChat.History()[before:]; len(fresh) == 0 || fresh[0].Client != b.Address {
		t.Errorf("WeChat issued %+v though it refuses all but %s", fresh, b.Address)
	}
}

func TestRequestsThatWeChatHoldsAreLostWhenTheirNetworkIsCut(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	if err := s.WeChat.AddFault(wechattest.Fault{Kind: wechattest.Hang, Endpoint: wechattest.Stable}); err != nil {
		t.Fatal(err)
	}
	before, done := s.WeChat.Requests(wechattest.Stable), make(chan error, 1)
	go func() { done <- refresh(t, s.Brokers[0], false) }()
	eventually(t, "WeChat holds the request", func(context.Context) bool { return s.WeChat.Requests(wechattest.Stable) > before })
	for _, b := range s.Brokers {
		b.WeChat.Cut()
	}
	if err := <-done; err == nil {
		t.Error("a fetch succeeded that WeChat never answered")
	}
	s.WeChat.ClearFaults()
	before = s.WeChat.Requests(wechattest.Stable)
	if err := refresh(t, s.Brokers[1], true); err == nil || s.WeChat.Requests(wechattest.Stable) != before {
		t.Errorf("cut off from WeChat, a fetch: %v, requests: %d; want an error, none", err, s.WeChat.Requests(wechattest.Stable)-before)
	}
	for _, b := range s.Brokers {
		if err := b.WeChat.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	// Replies to what was asked before are kept for some seconds.
	eventually(t, "WeChat is reached", func(context.Context) bool { return refresh(t, s.Brokers[2], false) == nil })
}
