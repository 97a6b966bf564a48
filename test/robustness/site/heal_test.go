package site_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

func TestHealUndoesAllThatCanBeBroken(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	wrong := "wrong"
	if err := errors.Join(
		s.FillEtcd(t.Context()),
		s.Brokers[0].Kill(), s.Brokers[1].Pause(), s.Members[0].Kill(), s.Members[1].Pause(),
		s.Brokers[2].SetClock(time.Hour), s.Brokers[2].Failpoint(t.Context(), "refreshBeforeBegin", "sleep(60000)"),
		s.WeChat.AddFault(wechattest.Fault{Kind: wechattest.Hang}),
		s.WeChat.SetAccount(site.Token{Name: stable}.AppID(), wechattest.Change{Secret: &wrong}),
	); err != nil {
		t.Fatal(err)
	}
	s.Members[2].Peers.Cut()
	s.Brokers[2].Etcd.Hold(netfault.ToClient)
	s.Brokers[1].Etcd.Delay(netfault.Both, time.Minute)
	for _, b := range s.Brokers {
		b.WeChat.Cut()
	}

	if err := s.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s); err != nil {
		t.Errorf("etcd is not healed: %v", err)
	}
	for _, b := range s.Brokers {
		serves(t, b, stable)
		serves(t, b, classic)
		eventually(t, b.ID+" takes orders to the leader, and that reaches WeChat", func(context.Context) bool { return refresh(t, b, false) == nil })
	}
	if n, err := s.Brokers[2].FailpointCount(t.Context(), "refreshBeforeBegin"); n != 0 || err != nil {
		t.Errorf("a failpoint that was turned off has struck %d times, error %v", n, err)
	}
	if err := s.Heal(t.Context()); err != nil {
		t.Errorf("healing what is well: %v", err)
	}
}
