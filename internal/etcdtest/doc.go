// Package etcdtest runs real etcd for tests, inside the test process: one member (Start) or several (StartCluster), ready within a
// second, on free loopback ports, stopped and restarted with their data kept, lost or replaced; and a Proxy that cuts, delays or
// swallows what one client and etcd say to each other.
//
// Everything ends with the test that started it. Whatever goes wrong in here fails that test; nothing returns an error.
//
// Leases: the members' election time is so short that etcd grants a TTL of 1 s and more. etcd looks for expired leases twice a
// second, so a key outlives its lease by up to that.
package etcdtest
