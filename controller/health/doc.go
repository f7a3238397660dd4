// Package health is the Health Manager: it compares what shall run with what
// the nodes say, tells the reason of each difference, writes crashes into the
// apps' events, and has jobs put right that the scheduler lost or that should
// not be there.
//
// It decides nothing while the table of instances is learning: what is not
// seen may well run.
package health
