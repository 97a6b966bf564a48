// Package guard is what stands before every call: it joins who is calling (access.Authenticator), what they may have (access.Policy), what
// they have left of calls and streams, and the audit log. It implements server.Guard; package server says when it is asked.
//
// # Limits
//
// Each identity has a rate, and a number of streams and of other calls that may be open at once: those may wait for a new token, so that a rate
// alone would let thousands pile up. A caller with several identities takes from each. All is of one replica; nothing is shared between replicas.
//
// Anonymous callers are limited like identities, by the address that they come from: a network of 64 bits with IPv6. Attempts to authenticate
// that failed are counted by address, too, and so is what was refused to anonymous callers. From an address with too many of them no bearer
// token is looked at any longer, unless it was found good here before, and no anonymous caller is heard. Of what is refused for its number nothing
// is written to the audit log, or nobody could be kept from filling the disk.
//
// # Memory
//
// Addresses share a fixed number of buckets, by a hash that nobody outside can know: whoever brings many addresses takes no memory, and
// pushes nobody's bucket out. Identities, which their issuers vouch for, have buckets of their own, maxIdentities at most. A bucket is forgotten
// only when it is full and nothing is open: a new one would be just the same, so there is nothing to be gained by being forgotten. Where no such
// bucket is found, identities that come anew share those of addresses.
//
// # Rights end
//
// A caller is who they were found to be when they came, but not for long. Before every message of a stream, each time that the stream looks
// whether there is one, and before the answer to a call that took more than a second, the credentials are looked at anew; so is the policy. A
// policy that is replaced, and credentials that have expired, end the calls of others, too.
//
// # The audit log
//
// What is recorded, and when:
//
//	a token is handed out        before it leaves, with its version: GetToken and each message of WatchToken
//	a list, the status           before it leaves
//	an order: refresh, resign,   before it is carried out (phase ordered), and when it is known what came of it, before
//	  report                     the caller is told (phase done)
//	a call that was allowed      with its code
//	  and came to nothing
//	a refusal                    with its code, UNAUTHENTICATED, PERMISSION_DENIED or, where the issuer of the caller's token is away and
//	                             nobody can tell, UNAVAILABLE; unless for its number
//
// If a record must be made (audit.Config.Refuse) and cannot be, the order is not carried out and the answer does not leave: UNAVAILABLE, AUDIT_FULL.
// A refusal stays what it is. Health is not touched by that: it says what the replica has, not who may be told. A replica that called itself NOT_SERVING for
// its disk would hide the reason from its callers, and where one disk is full the others soon are; callers go on to other replicas by themselves, as
// they do after every UNAVAILABLE.
package guard
