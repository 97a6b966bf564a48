// Package netfault is a network that breaks on demand: a Proxy passes TCP connections on to one address, and cuts, delays or swallows
// what is said on them; a Network is several of them. FreeAddress finds where those can listen who come and go.
//
// It needs no privileges, and works on whatever speaks over TCP. What it cannot do is lose the packets by which TCP itself opens and
// closes connections: a connection through a proxy that holds everything is opened, and stays silent.
package netfault
