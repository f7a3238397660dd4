// Package node holds the leaf types that every part of the agent speaks of:
// identities, roles and their rules, role groups, and the node record.
//
// It does no input or output and imports nothing of the module.
package node
