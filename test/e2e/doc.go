// Package e2e tests the whole way from cf push to an answer, with the
// unmodified cf command line against clusters whose nodes are containers.
//
// testdata/script holds what a person would type. Each file is a script of
// its own, with an organization, a space and a log-in of its own. Those of
// testdata/operator change settings and run one after the other, with a web
// server, an authority, a proxy and a package index of the test's outside the cluster; the
// long run adds languages, large and outside. The
// commands beside those of testscript are:
//
//	cf ARGS…                          the cf command line
//	await PATTERN cf|kato ARGS…       repeats it until its output matches
//	get [-H HEADER] URL [STATUS [PATTERN]]
//	                                  one request through the router; the answer
//	                                  (header and body) is standard output
//	await get URL [STATUS [PATTERN]]  repeats it until it is as wanted
//	put NAME [.KEY.…] cf ARGS…        keeps the output, or what stands below the
//	                                  keys of its JSON, in a variable
//	load start URL, load stop [N]     requests without end; stop wants that all of
//	                                  them, or all but N, were answered with 200
//	held DIGEST                       a controller holds a blob
//	gone APP-GUID [DIGEST…]           within 60 s nothing is left of an app in
//	                                  Nomad and Docker, nor the blobs
//	nomad-lacks TEXT                  TEXT is nowhere in Nomad's state
//	websocket URL                     sends a message and wants it back
//	http2 URL                         a request by HTTP/2
//	node VARIABLE primary             the name of the Primary; from now on requests
//	                                  go to other nodes' routers
//	node kill NAME, node start NAME   cuts a node's power, switches it on again
//	routers start URL NODE            a client that knows the routers of NODE and of
//	                                  another node asks them in turns
//	routers back, routers stop        NODE's has answered again; it was away, and no
//	                                  request was answered by neither
//	crash APP-GUID                    kills the processes of one of the app's instances
//	kato ARGS…                        the operator's command on the first node
//	proxied PATTERN                   the proxy outside was asked to lead there
//	random FILE MIB                   writes what cannot be compressed
//	digest FILE SHA-256               a file's digest is as wanted
//	upload URL MIB                    sends so much; the app answers with its digest
//	download [-H HEADER] URL SHA-256|FILE
//	                                  what comes is what is wanted
//	memory start, memory stop MIB     the agent did not grow by more in between
//	spread APP-GUID COUNT             the app's instances are on so many nodes
//
// What is no story of a person's stands in Go: [TestThreeNodes] and
// [TestFiveNodes] hurt nodes and ask single controllers and containers.
//
// The test's own proxy leads all names below the cluster's domain to a router
// that is on.
package e2e
