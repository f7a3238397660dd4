package state

// TouchRuns makes a watch wake up when anything changes that decides what
// shall run: apps, processes, deployments, builds and tasks. It costs nothing
// like reading them.
func (v *View) TouchRuns() {
	// Asking for the rows is enough; none is read.
	_ = apps.each(v, "id")
	_ = processes.each(v, "id")
	_ = deployments.each(v, "id")
	_ = builds.each(v, "id")
	_ = tasks.each(v, "id")
}
