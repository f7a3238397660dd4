// Package router takes requests for apps and for the cluster's own hosts and
// sends them where they are served. It goes on with the last good route table
// when every controller is gone, and so shares nothing with them but wire/.
package router
