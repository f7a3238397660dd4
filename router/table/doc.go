// Package table holds what a router knows: routes, the backends behind them,
// and the state of these backends as this router sees it.
//
// Lookups and picks take no lock and allocate nothing. Changes are serialised
// and copy only the part of the table that they touch, so that one more route
// costs microseconds whatever the size of the table. DESIGN.md in the folder
// above says why.
package table
