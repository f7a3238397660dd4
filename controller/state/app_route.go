package state

// unmapApp takes an app out of all routes; the routes stay.
var unmapApp = newCommand("cf.app.unmap", 1, func(tx *Tx, in Target) (none, error) {
	destinations.remove(tx, "app", in.GUID)
	return none{}, nil
})

// UnmapApp takes an app out of all routes; the routes stay.
func (b *Batch) UnmapApp(t Target) { unmapApp.queue(b, t) }
