// Package api measures the API: a list of 10,000 apps, in this process over HTTP
// and a state without replication, and writes by 16 clients through the router
// of the micro cloud of this machine (make micro; without one it skips) beside
// Consul's KV store on the same node:
//
//	go test -run '^$' -bench . -benchtime 1x ./test/bench/api
package api
