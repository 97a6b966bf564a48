package main

import (
	"context"
	"slices"
	"strings"
)

// attack is one way of doing harm to a broker.
type attack struct {
	name string
	// does says what, and how much of it a second; stops is the one thing that stands against it. Both are for the page.
	does, stops string
	// run attacks until ctx ends, and leaves nothing open. Its error is one of the attacker's own, not of the broker's resistance.
	run func(ctx context.Context, t target, n *tally) error
}

// target is what attackers know.
type target struct {
	way
	// Still is a token that does not change, and Moving one that is fetched again and again.
	Still, Moving string
	// Bearers are what an attacker may have as a bearer, by what is wrong with it. None is any good.
	Bearers map[string]string
	// AppID is the application that a client of the WeChat-compatible paths would ask for.
	AppID string
}

// attacks lists all that there are, in the order of the page.
func attacks() []attack {
	return slices.Concat(callAttacks(), credentialAttacks(), connectionAttacks(), dripAttacks(), streamAttacks(), frameAttacks(), sizeAttacks())
}

// chosen returns the attacks whose names begin with one of those that are listed with commas; all, if none is.
func chosen(list string) []attack {
	if list == "" {
		return attacks()
	}
	return slices.DeleteFunc(attacks(), func(a attack) bool {
		return !slices.ContainsFunc(strings.Split(list, ","), func(begin string) bool { return strings.HasPrefix(a.name, begin) })
	})
}
