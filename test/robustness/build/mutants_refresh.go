package build

// protocolMutants are about the leader's side of the protocol.
func protocolMutants() []Mutant {
	return []Mutant{
		{
			Name: "no-intent",
			What: "BEGIN is not written before the request.",
			Edits: []Edit{{
				File: "internal/refresh/attempt.go",
				Old:  "rev, err := g.ledger.Write(wctx, g.rev, next)",
				New:  "rev, err := g.rev, wctx.Err()",
			}},
			Needs: Needs{
				When: "A token is fetched. With crash-at-refreshAfterWrite or crash-at-refreshBeforeCommit, on the classic endpoint, S1 " +
					"shows it, too.",
				Checks: []string{records, boundedFetches, aliveAsPromised},
				Story: "The history of the record has a COMMIT of an attempt that was never pending, and WeChat has issued what nobody announced. After a crash nobody knows that the " +
					"token was rotated away: it is promised for W again and again, until the successor's fetch kills it.",
			},
		},
		{
			Name: "no-quiet-wait",
			What: "The next BEGIN does not wait until an attempt that may have issued a token is over and every promise has run out.",
			Edits: []Edit{{
				File: "internal/refresh/term.go",
				Old:  "return max(at, g.quietEnd()), why",
				New:  "return at, why",
			}},
			Needs: Needs{
				Faults: []string{"wechat-answer-lost", "wechat-hang-after", "wechat-502-after"},
				When:   "Token on the classic endpoint.",
				Checks: []string{aliveAsPromised, boundedFetches},
				Story:  "The retry comes a second later, not W after an attempt that may have issued a token, and its token kills the one that callers were promised for W.",
			},
		},
		{
			Name: "forgotten-doubt",
			What: "ABORT ends the doubt that an earlier attempt left, be it the leader's own or one on an orphan's word.",
			Edits: []Edit{
				{
					File: "internal/refresh/settle.go",
					Old:  "\trec.Pending = nil\n",
					New:  "\trec.Pending, rec.Doubt, rec.Drained = nil, false, false\n",
				},
				{
					File: "internal/refresh/orphan.go",
					Old:  "\t\tnext.Pending = nil\n",
					New:  "\t\tnext.Pending, next.Doubt, next.Drained = nil, false, false\n",
				},
			},
			Needs: Needs{
				Faults: []string{"wechat-lost-then-refused"},
				When:   "Token on the classic endpoint.",
				Checks: []string{aliveAsPromised, records, boundedFetches},
				Story: "The lost answer rotated the token away. After the refusal it looks healthy: it is promised for W again, although " +
					"little of its overlap is left, and the next token kills it at once. The record shows a " +
					"doubt that no COMMIT has ended, and an attempt that nothing called for, or that did not keep W.",
			},
		},
	}
}
