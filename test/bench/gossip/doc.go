// Package gossip measures agent/member with hundreds of members in one
// process. Run it with
//
//	go test -run '^$' -bench Gossip -benchtime 1x -timeout 30m ./test/bench/gossip
//
// or one size of it with -bench 'Gossip/members=100$'.
//
// The members use the lan profile and encrypted packets over a network in
// memory that loses nothing but what overflows a queue. They share this
// process's cores: above some hundreds the figures show how the machine is
// loaded, not the protocol alone. The figure busy_% tells how far that goes.
//
// 1,000 members that share two cores never come to rest in real time. The tests
// run them in virtual time instead, see TestThousandMembers.
package gossip
