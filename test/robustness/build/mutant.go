package build

import (
	"path"
	"slices"
)

// Mutant is the broker with one mechanism taken out.
type Mutant struct {
	// Name is short, and fit for a file's name.
	Name string
	// What says in a sentence what is taken out.
	What string
	// Edits take it out.
	Edits []Edit
	// Needs says how it is missed.
	Needs Needs
}

// Edit replaces a text in a file of the source.
type Edit struct {
	// File is the path within the module, with slashes.
	File string
	// Old must be in the file exactly once.
	Old, New string
}

// Needs says what must happen in a run for a mechanism to be missed, and what shows it.
type Needs struct {
	// Faults are those of the catalogue that bring it about, each of them alone; those that must stand together are joined by " + ".
	// Empty if none is needed.
	Faults []string
	// When says in words what else must be so.
	When string
	// Checks are those of the judgement that say what the mechanism is there for, the surest first: the mutant is caught by one of them
	// and by no other, whatever else comes of it.
	Checks []string
	// Story tells how the one leads to the other.
	Story string
}

// The checks of the judgement.
const (
	aliveAsPromised = "S1" // what is answered as ACTIVE is alive, and stays so for its ttl
	versionsGrow    = "S2" // versions never go back, and each has one value
	records         = "M"  // the history of a token's record is one that the protocol can have
	livingAnswers   = "A1" // a replica that has a living token answers
	boundedFetches  = "Q1" // WeChat is asked no more often than the protocol says
	oneLeader       = "L"  // no two terms whose writes interleave
)

// packages returns the packages that are edited, as go build names them.
func (m Mutant) packages() []string {
	var packages []string
	for _, e := range m.Edits {
		packages = append(packages, "./"+path.Dir(e.File))
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// Mutants returns all mutants.
func Mutants() []Mutant {
	return slices.Concat(ledgerMutants(), electionMutants(), protocolMutants(), promiseMutants(), edgeMutants())
}
