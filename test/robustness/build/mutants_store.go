package build

const ledgerFile = "internal/store/ledger.go"

// ledgerMutants are about what a write of a record compares, carries and deletes, and about orphans.
func ledgerMutants() []Mutant {
	return []Mutant{
		{
			Name: "no-fence",
			What: "A write of a record does not compare the create revision of the writer's election key.",
			Edits: []Edit{{
				File: ledgerFile,
				Old:  "clientv3.Compare(clientv3.CreateRevision(l.fence.Key), \"=\", l.fence.Revision),\n\t\t\t\t",
				New:  "",
			}},
			Needs: Needs{
				Faults: []string{"pause-at-refreshBeforeCommit", "pause-at-refreshBeforeBegin"},
				When: "The pause is longer than the TTL of the session, and ends before the successor writes the record, which is W " +
					"after its election.",
				Checks: []string{oneLeader},
				Story: "The leader wakes deposed, finds the record as it left it, and writes: a write of a term whose election key is " +
					"gone, after another candidate has proclaimed itself.",
			},
		},
		{
			Name: "no-revision",
			What: "A write of a record does not compare the record's own mod revision.",
			Edits: []Edit{{
				File: ledgerFile,
				Old:  ",\n\t\t\t\tclientv3.Compare(clientv3.ModRevision(key), \"=\", revision)).",
				New:  ").",
			}},
			Needs: Needs{
				Faults: []string{"requests-late"},
				When: "The leader's requests on its way to one of the members, and no other, are late by more than the time-out of a " +
					"call: 3.5 to 6 s. Refreshes go on.",
				Checks: []string{records, versionsGrow},
				Story: "A transaction times out, and its repetition through another member is done, as are those that follow. Then the " +
					"first one arrives and is done again: the same write takes effect twice, and a version or a pending attempt goes " +
					"back.",
			},
		},
		{
			Name: "leased-record",
			What: "A token's record is put on the lease of the leader's session.",
			Edits: []Edit{
				{
					File: ledgerFile,
					Old:  "\t\"strings\"\n",
					New:  "\t\"strconv\"\n\t\"strings\"\n",
				},
				{
					File: ledgerFile,
					Old:  "\tops := []clientv3.Op{clientv3.OpPut(key, string(data)), ",
					New: "\tlease, err := strconv.ParseInt(l.fence.Key[strings.LastIndexByte(l.fence.Key, '/')+1:], 16, 64)\n" +
						"\tif err != nil {\n\t\treturn 0, err\n\t}\n" +
						"\tops := []clientv3.Op{clientv3.OpPut(key, string(data), clientv3.WithLease(clientv3.LeaseID(lease))), ",
				},
			},
			Needs: Needs{
				Faults: []string{"kill-leader", "restart"},
				When:   "A token was committed in the term that ends.",
				Checks: []string{records, versionsGrow},
				Story: "The record goes with the session: the history shows it deleted, and the next leader, who knows of none, fetches " +
					"although the token was healthy and begins with version 1 again.",
			},
		},
		{
			Name: "no-orphan",
			What: "A deposed leader with an outcome in hand leaves nothing.",
			Edits: []Edit{{
				File: ledgerFile,
				Old:  "return s.putLeased(ctx, key, data, orphanLife)",
				New:  "_, _, _ = key, data, orphanLife\n\t\treturn nil",
			}},
			Needs: Needs{
				Faults: []string{"late-request"},
				When: "Token on the classic endpoint. The leader stops itself there, between its last look at the clock and the write, " +
					"until the successor has committed a token, which is TTL + W and a second; then neither a refresh nor a report " +
					"follows for an overlap.",
				Checks: []string{aliveAsPromised, boundedFetches},
				Story: "The request is written late and rotates the successor's token away. Nobody is told, so that it is promised for W " +
					"again and again, beyond its overlap. An orphan puts it in doubt within milliseconds, and no promise is too long: " +
					"A3 need not be excused, or only for promises that were made before the orphan could be heard of. Q1 wants it heeded whatever callers see.",
			},
		},
		{
			Name: "blind-orphans",
			What: "A COMMIT deletes all orphans of the token, read or not.",
			Edits: []Edit{{
				File: ledgerFile,
				Old:  "\tvar written int64\n",
				New: "\tif rec.Pending == nil && rec.Resolved.Outcome == token.OutcomeToken {\n" +
					"\t\tops = append(ops, clientv3.OpDelete(s.keys.orphansOf(l.name), clientv3.WithPrefix()))\n\t}\n" +
					"\tvar written int64\n",
			}},
			Needs: Needs{
				Faults: []string{"late-request-meets-commit"},
				When: "Token on the classic endpoint. The leader stops itself, as for no-orphan, and is continued while the successor " +
					"is held with a token in hand, or waits for one; then neither a refresh nor a report follows for an overlap.",
				Checks: []string{aliveAsPromised, boundedFetches},
				Story: "The late request rotates away what the successor has in hand. Its orphan comes between the successor's last look " +
					"and its COMMIT, which sweeps it: then as without orphans.",
			},
		},
	}
}

// electionMutants are about the proof of the win.
func electionMutants() []Mutant {
	const file = "internal/leader/campaign.go"
	return []Mutant{{
		Name: "phantom-leader",
		What: "A candidate takes the end of the key next ahead for its turn: it does not look again, and the transaction with which it " +
			"proclaims itself compares nothing (the look would catch what the transaction lets through).",
		Edits: []Edit{
			{
				File: file,
				Old:  "err != nil {\n\t\t\tpause(ctx, c.cfg.retry())\n\t\t}\n\t}\n}\n\n// look ",
				New:  "err == nil {\n\t\t\treturn nil\n\t\t}\n\t\tpause(ctx, c.cfg.retry())\n\t}\n}\n\n// look ",
			},
			{ // that a watch was silent for a TTL is no news of any key
				File: file,
				Old:  "\tif errors.Is(ctx.Err(), context.DeadlineExceeded) {\n\t\treturn nil\n\t}\n",
				New:  "",
			},
			{
				File: file,
				Old: "\n\t\tIf(clientv3.Compare(clientv3.CreateRevision(c.key), \"=\", c.revision),\n" +
					"\t\t\tclientv3.Compare(clientv3.CreateRevision(c.cfg.Prefix+\"/\"), \">\", c.revision-1).WithPrefix()).",
				New: "",
			},
		},
		Needs: Needs{
			Faults: []string{"kill-follower"},
			When:   "The follower is the second in the queue, the leader lives, and a third one waits.",
			Checks: []string{oneLeader},
			Story: "The third proclaims itself while the first one's key stands, and since its own key stands too, both pass the " +
				"fence: two proclaimed candidates at once, and writes of two terms in turn.",
		},
	}}
}
