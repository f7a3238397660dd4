// Package cf holds the leaf types of the Cloud Controller: the rows that the
// replicated state keeps, one file for each resource, and the errors that
// Cloud Foundry's clients know. The API's own JSON is made from them in
// controller/api; the JSON tags here are those of the log and of snapshots, so
// a field must never change its name or meaning.
package cf
