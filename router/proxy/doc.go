// Package proxy is a router's data path: it takes requests from listeners and
// sends them to the backends that a table names. What others see of it is
// Proxy's few methods; net/http and its ReverseProxy inside can be replaced.
package proxy
