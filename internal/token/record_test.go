package token_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestARecordIsCleanWhenNothingIsUnsettled(t *testing.T) {
	pending := &token.Intent{Attempt: "a"}
	for _, test := range []struct {
		name          string
		rec           token.Record
		clean, issued bool
	}{
		{"nothing ever happened", token.Record{}, true, false},
		{"a version", token.Record{Version: 1}, true, true},
		{"the first attempt", token.Record{Pending: pending}, false, true},
		{"a later attempt", token.Record{Version: 1, Pending: pending}, false, true},
		{"doubt", token.Record{Doubt: true}, false, true},
		{"doubt about a version", token.Record{Version: 1, Doubt: true, Drained: true}, false, true},
		{"condemned", token.Record{Version: 1, Condemned: true}, true, true},
		{"the first attempt was refused", token.Record{Resolved: token.Resolution{Attempt: "a", Outcome: token.OutcomeNone}}, true, false},
	} {
		if got := test.rec.Clean(); got != test.clean {
			t.Errorf("%s: Clean is %v, want %v", test.name, got, test.clean)
		}
		if got := test.rec.Issued(); got != test.issued {
			t.Errorf("%s: Issued is %v, want %v", test.name, got, test.issued)
		}
	}
}

func TestAFailureSaysItsCodeClassAndMeaning(t *testing.T) {
	f := &token.Failure{Class: token.Human, Code: "40013", Meaning: "invalid appid", Remedy: "look it up"}
	if got, want := f.Error(), "40013 (human): invalid appid"; got != want {
		t.Errorf("Error returns %q, want %q", got, want)
	}
	f.Message = "invalid appid rid: 1"
	if got, want := f.Error(), "40013 (human): invalid appid: invalid appid rid: 1"; got != want {
		t.Errorf("Error returns %q, want %q", got, want)
	}
}
