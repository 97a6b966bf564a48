package token

// EarlyDeath says in words what it means that tokens of this upstream die before their time, and what a human should do about it. The
// log, the status and the command line take it from here.
func (t Traits) EarlyDeath() (meaning, remedy string) {
	if t.Rotating {
		return "another system refreshes this app's token, and each of its fetches ends the life of this one",
			"Find the system that fetches with this app's secret, and move it to this broker; or use stable mode, whose tokens no ordinary " +
				"fetch ends. A reset of the secret locks out what cannot be found."
	}
	return "another system refreshes this app's token by force, or had it revoked",
		"Find the system that forces refreshes with this app's secret, and move it to this broker. A reset of the secret locks out what " +
			"cannot be found."
}
