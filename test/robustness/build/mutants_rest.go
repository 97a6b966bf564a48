package build

// promiseMutants are about what a replica may promise.
func promiseMutants() []Mutant {
	return []Mutant{
		{
			Name: "sync-at-receive",
			What: "A proof of freshness counts from the moment at which it was received and applied.",
			Edits: []Edit{{
				File: "internal/view/apply.go",
				Old:  "v.proof.Store(&proof{at: sent.At, era: sent.Era, skipped: sent.Skipped})",
				New:  "v.proof.Store(&proof{at: now.At, era: now.Era, skipped: now.Skipped})",
			}},
			Needs: Needs{
				Faults: []string{"answers-late + wechat-answer-lost", "answers-late + wechat-hang-after"},
				When: "The answers of etcd to one follower, and no other, are late by more than overlap - W and less than the time-out " +
					"of a call: 2.2 to 2.8 s where the overlap is 10 s. Meanwhile an answer of WeChat is lost on the classic " +
					"endpoint, or the follower is cut off as well.",
				Checks: []string{aliveAsPromised},
				Story: "A proof that was read before BEGIN counts from after the token was rotated away, and W from then on is beyond " +
					"the overlap. The COMMIT that would correct it stays away.",
			},
		},
		{
			Name: "no-sync-cap",
			What: "A rotating token's promise is not bounded by t_sync + W.",
			Edits: []Edit{{
				File: "internal/view/token.go",
				Old:  "\t\tend = min(end, p.at.Add(t.spec.Timing.W))\n",
				New:  "",
			}},
			Needs: Needs{
				When:   "A token on the classic endpoint is answered. Refreshes, and followers that are cut off, make it worse.",
				Checks: []string{aliveAsPromised},
				Story: "More than W is promised, at first to the nominal end, and the next token but one, or an overlap after the next, " +
					"comes before that.",
			},
		},
	}
}

// edgeMutants are about the outermost layers: callers' reports, and the requests to the upstream.
func edgeMutants() []Mutant {
	return []Mutant{
		{
			Name: "any-report",
			What: "A report of any version acts on the current one, and the upstream is not asked whether that is dead (it would answer that it " +
				"lives).",
			Edits: []Edit{
				{
					File: "internal/server/report.go",
					Old:  "version > 0 && (version == r.Record.Version || r.Local && version == t.Version()) {\n",
					New:  "r.Record.Version > 0 {\n\t\tversion = r.Record.Version\n",
				},
				{
					File: "internal/refresh/call.go",
					Old:  "if g.policy.TrustReports {",
					New:  "if g.policy.TrustReports || g.rec.Version > 0 {",
				},
			},
			Needs: Needs{
				Faults: []string{"foreign-fetch", "token-killed"},
				When:   "More than one caller reports the dead version, some of them after it was replaced.",
				Checks: []string{livingAnswers},
				Story: "The living token is condemned: no replica hands it out any more, and it is fetched anew for nothing. (Q1 takes the " +
					"record's word that it was dead.)",
			},
		},
		{
			Name: "replaying-client",
			What: "The upstream's client repeats a request whose connection broke before an answer came, as net/http does on a reused connection.",
			Edits: []Edit{{
				File: "internal/upstream/client.go",
				Old:  "\tv := g.finish()\n",
				New: "\tv := g.finish()\n" +
					"\tif again, bad := c.request(ctx, r); bad == nil && err != nil && v.written && !v.answered {\n" +
					"\t\tanswer, tooLong, err = exchange(&http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}, again)\n\t}\n",
			}},
			Needs: Needs{
				Faults: []string{"wechat-answer-lost"},
				When:   "Token on the classic endpoint.",
				Checks: []string{boundedFetches, aliveAsPromised},
				Story: "Two tokens are issued within one attempt: the second kills the one that callers were promised for W. WeChat " +
					"counts more requests than the record does attempts.",
			},
		},
	}
}
