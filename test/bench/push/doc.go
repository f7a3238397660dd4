// Package push measures the way of an app on the micro cloud of this machine
// (make micro; without one it skips) beside Nomad alone with the same image:
//
//	go test -run '^$' -bench . -benchtime 1x -timeout 20m ./test/bench/push
//
// Push is the time from the end of the upload until the first 200 through the
// router, staging included, and where it goes. Scale is 1 to 20 instances until
// the router uses all of them, then a rolling restart of the 20 under load.
package push
