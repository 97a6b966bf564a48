package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// upstream are the faults of WeChat, and of the way to it.
func upstream() []Fault {
	brief, long := lasting(2*time.Second, 12*time.Second), lasting(10*time.Second, 40*time.Second)
	faults := []Fault{
		strike("wechat-hang-before", "WeChat does not answer, and issues nothing", 2, brief, wechattest.Fault{Kind: wechattest.Hang}),
		strike("wechat-hang-after", "WeChat issues a token and does not answer", 3, brief, wechattest.Fault{Kind: wechattest.Hang, When: wechattest.After}),
		strike("wechat-answer-lost", "WeChat issues a token and drops the connection", 4, brief, wechattest.Fault{Kind: wechattest.Drop, When: wechattest.After}),
		strike("wechat-drop-before", "WeChat drops the connection and issues nothing", 2, brief, wechattest.Fault{Kind: wechattest.Drop}),
		strike("wechat-truncated", "WeChat issues a token and drops the connection in the middle of the answer", 2, brief,
			wechattest.Fault{Kind: wechattest.Truncated, When: wechattest.After}),
		strike("wechat-garbage", "WeChat issues a token and answers with nonsense", 2, brief, wechattest.Fault{Kind: wechattest.Garbage, When: wechattest.After}),
		strike("wechat-502-before", "a gateway answers 502, and WeChat issues nothing", 2, brief, wechattest.Fault{Kind: wechattest.Status, Status: 502}),
		strike("wechat-502-after", "a gateway answers 502, and WeChat issues a token", 2, brief,
			wechattest.Fault{Kind: wechattest.Status, Status: 502, When: wechattest.After}),
		strike("wechat-busy", "WeChat answers -1", 2, brief, wechattest.Fault{Kind: wechattest.Errcode, Code: -1}),
		strike("wechat-busy-after", "WeChat answers -1 and issues a token nevertheless", 1, brief,
			wechattest.Fault{Kind: wechattest.Errcode, Code: -1, When: wechattest.After}),
		strike("wechat-45011", "the minute's quota is used up", 1, brief, wechattest.Fault{Kind: wechattest.Errcode, Code: 45011}),
		strike("wechat-45009", "the day's quota is used up", 1, brief, wechattest.Fault{Kind: wechattest.Errcode, Code: 45009}),
		strike("wechat-40125", "the secret is wrong", 1, brief, wechattest.Fault{Kind: wechattest.Errcode, Code: 40125}),
		strike("wechat-89507", "an administrator refused the address: blocked for an hour", 1, brief, wechattest.Fault{Kind: wechattest.Errcode, Code: 89507}),
	}
	return append(faults,
		Fault{
			Name: "wechat-slow", About: "WeChat processes requests late, but within D, or answers late",
			Weight: 3, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: brief, Inject: slowWeChat,
		},
		Fault{
			Name: "wechat-lost-then-refused", About: "an answer is lost, and the next request is refused for certain",
			Weight: 3, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: lostThenRefused, Inject: loseThenRefuse,
		},
		Fault{
			Name: "wechat-40164", About: "WeChat's whitelist lacks the address of one broker: the leader's",
			Weight: 2, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: long, Inject: refuseAddress,
		},
		Fault{
			Name: "wechat-unreachable", About: "one broker, the leader, has no connection to WeChat",
			Weight: 2, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: long, Inject: cutUplink,
		},
		Fault{
			Name: "foreign-fetch", About: "somebody else fetches, up to three times: the token is rotated away",
			Weight: 2, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: lasting(0, time.Second), Inject: fetchForeign,
		},
		Fault{
			Name: "token-killed", About: "WeChat ends a token before its time",
			Weight: 1, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: lasting(0, time.Second), Inject: killToken,
		},
		Fault{
			Name: "wechat-down", About: "WeChat answers 502 to everything for several lives of a token",
			Weight: 1, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: severalLives, Least: func(t Times) time.Duration { return 12 * t.Life },
			Inject: strikeAll(wechattest.Fault{Kind: wechattest.Status, Status: 502}),
		},
	)
}

func severalLives(t Times, rng *rand.Rand) time.Duration { return between(2*t.Life, 3*t.Life, rng) }

// lostThenRefused is long enough for two attempts with the quiet wait between them.
func lostThenRefused(t Times, rng *rand.Rand) time.Duration {
	return between(t.Protocol.W+t.Protocol.F, 2*t.Protocol.W, rng)
}

// strike makes a fault of one that the simulated WeChat knows. It strikes one token's endpoint, from one broker or all.
func strike(name, about string, weight int, lasts func(Times, *rand.Rand) time.Duration, f wechattest.Fault) Fault {
	return Fault{
		Name: name, About: about, Weight: weight, Breaks: WeChat, Effects: []string{history.EffectUpstream}, Lasts: lasts,
		Inject: func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
			tok := pick(rng, s.Tokens)
			f.Endpoint = tok.Endpoint
			return s.struck(ctx, tok.Name, rng, f)
		},
	}
}

// strikeAll is strike on every endpoint and for every broker.
func strikeAll(f wechattest.Fault) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		return s.struck(ctx, pick(rng, s.Tokens).Name, rng, f)
	}
}

// patient are the refusals after which a broker waits for as long as it was told to, or for somebody to mend something.
var patient = []int{40125, 45009, 45011, 50004, 89507}

// struck adds faults to WeChat, and provokes a fetch to strike. After a refusal that people have to mend, somebody does so.
func (s *Scene) struck(ctx context.Context, name string, rng *rand.Rand, faults ...wechattest.Fault) (Wound, error) {
	mend := slices.ContainsFunc(faults, func(f wechattest.Fault) bool { return slices.Contains(patient, f.Code) })
	s.owe(name, mend || s.owes(name))
	stop := s.provoke(ctx, name, rng)
	wound := Wound{
		Detail: name,
		Heal:   func(context.Context) error { s.Site.WeChat.ClearFaults(); return nil },
		Clean: func(ctx context.Context) error {
			stop()
			if mend {
				s.mend(ctx, name, rng)
			}
			return nil
		},
	}
	for _, f := range faults {
		if err := s.Site.WeChat.AddFault(f); err != nil {
			return wound, fmt.Errorf("adding a fault to WeChat: %w", err)
		}
	}
	return wound, nil
}

// slowWeChat delays requests by less than D, beyond which nothing is promised, or answers by up to twice what a leader waits.
func slowWeChat(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	tok := pick(rng, s.Tokens)
	f := wechattest.Fault{Endpoint: tok.Endpoint, Kind: wechattest.Slow, When: wechattest.Before, Delay: between(s.Times.Protocol.D/4, s.Times.Protocol.D*3/4, rng)}
	if rng.IntN(2) == 0 {
		f.When, f.Delay = wechattest.After, between(s.Times.Protocol.F/2, 2*s.Times.Protocol.F, rng)
	}
	wound, err := s.struck(ctx, tok.Name, rng, f)
	wound.Detail += fmt.Sprintf(", %s processing, %v", f.When, f.Delay)
	return wound, err
}

func loseThenRefuse(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	tok := s.classic(rng)
	return s.struck(ctx, tok.Name, rng,
		wechattest.Fault{Endpoint: tok.Endpoint, Kind: wechattest.Drop, When: wechattest.After, Times: 1},
		wechattest.Fault{Endpoint: tok.Endpoint, Kind: wechattest.Errcode, Code: pick(rng, []int{40125, 50004, 45011})})
}

func refuseAddress(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.leader(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	wound, err := s.struck(ctx, pick(rng, s.Tokens).Name, rng, wechattest.Fault{Kind: wechattest.Errcode, Code: 40164, Client: b.Address})
	wound.Replica = b.ID
	return wound, err
}

func cutUplink(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.leader(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	b.WeChat.Cut()
	name := pick(rng, s.Tokens).Name
	stop := s.provoke(ctx, name, rng)
	return Wound{Replica: b.ID, Detail: name, Heal: func(context.Context) error { return b.WeChat.Heal() }, Clean: ending(stop)}, nil
}

func fetchForeign(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	tok, times := pick(rng, s.Tokens), 1+rng.IntN(3)
	for range times {
		if _, err := s.Site.WeChat.ForeignFetch(tok.AppID(), tok.Endpoint); err != nil {
			return Wound{}, err
		}
		traffic.Pause(ctx, between(0, time.Second, rng))
	}
	return Wound{Detail: fmt.Sprintf("%s, %d times", tok.Name, times)}, nil
}

// killToken ends the newest token of an account.
func killToken(_ context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	tok := pick(rng, s.Tokens)
	for _, t := range slices.Backward(s.Site.WeChat.History()) {
		if t.AppID == tok.AppID() && t.Endpoint == tok.Endpoint {
			if s.kill(t.Token) {
				return Wound{Detail: tok.Name}, nil
			}
			break
		}
	}
	return Wound{}, fmt.Errorf("%w: no token of %s lives", ErrMoot, tok.Name)
}
