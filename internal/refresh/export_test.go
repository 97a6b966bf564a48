package refresh

// BackOff is backOff, whose rules are easier to see by themselves than through a Refresher.
var BackOff = backOff
