// Package watch keeps a route table up to date: from one controller's feed while
// there is one, from the disk while there is none.
package watch
