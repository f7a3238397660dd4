// Package e2e tests the whole way from cf push to an answer, with the
// unmodified cf command line against clusters whose nodes are containers.
//
// testdata/script holds what a person would type. Each file is a script of
// its own, with an organization, a space and a log-in of its own; the
// commands beside those of testscript are:
//
//	cf ARGS…                          the cf command line
//	await PATTERN cf ARGS…            repeats it until its output matches
//	get URL [STATUS [PATTERN]]        one request through the router; the answer
//	                                  (header and body) is standard output
//	await get URL [STATUS [PATTERN]]  repeats it until it is as wanted
//	put NAME cf ARGS…                 keeps the output in a variable
//	load start URL, load stop         requests without end; stop wants that
//	                                  every one of them was answered with 200
//	gone APP-GUID                     within 60 s nothing is left of an app
//	nomad-lacks TEXT                  TEXT is nowhere in Nomad's state
//	websocket URL                     sends a message and wants it back
//	http2 URL                         a request by HTTP/2
//
// The test's own proxy leads all names below the cluster's domain to a router
// that is on.
package e2e
