// Package router measures the router beside nginx and HAProxy with 1, 10,000 and
// 100,000 routes. Run it with
//
//	go test -run '^$' -bench Router -benchtime 1x -timeout 20m ./test/bench/router
//
// Debian's nginx and HAProxy take part when they are on PATH. Proxy, app and
// load run on the same cores, each in a process of its own; a proxy's CPU is what
// the kernel counts for its processes. The app answers 1 KiB and does nothing
// else; the load is 64 kept-alive connections that each send a request as soon
// as they have their answer, to a host picked at random among all routes.
//
// add_ms is the time from the decision to add a route until it is served: for
// the router from the command to a controller, for nginx from the new map file and a
// reload, for HAProxy by its runtime API.
//
// The router follows a controller in another process by the agents' own stream, over
// mutual TLS: routes and instances come from a seeded state, without Raft.
//
// STACKATO_BENCH_PROFILE names a file for the router's CPU profile.
package router
