// Package fence cares for the containers of apps, tasks and builds on one
// node. Nomad makes and restarts them; fence tells their first process what to
// start, watches and checks them, holds back what crashes, takes instances out
// of the routes before they end, and is the only one to say in which state an
// instance is. It is the only importer of the Docker client; no type of it
// appears in the API.
//
// Wiring, in the agent of a node with the role dea:
//
//	engine, err := fence.NewEngine("")
//	f, err := fence.New(fence.Config{
//		Engine:      engine,
//		Dir:         filepath.Join(dataDir, "fence"), // keep it over restarts
//		Node:        node.ID, Address: node.Address,
//		Programs:    []string{bin + "/stackato-launcher", bin + "/stackato-stager"},
//		Controllers: controllers, // RPC to any controller
//		Routers:     routers,     // RPC to every router
//		Log:         tail.Append, // CELL lines
//		Images:      stackImages, // of the cluster's setting
//		Guard: fence.NewGuard(fence.GuardConfig{
//			Nodes: everyNodesAddress, Routers: everyRouterNodesAddress, Allow: routersPublicPorts,
//		}),
//	})
//	// fence.Mounted(dir) now exists: it is Nomad's host volume "stackato".
//	err = f.Run(ctx)                      // blocks
//	err = f.Watch(ctx, stream.Send)       // once for each controller
//	list := f.Stats()                     // for "cf app"
//	err = f.Ready(ctx)                    // may work land here? image, engine, guard
//	guard.Changed()                       // nodes or routers are others
//	err = guard.Remove(ctx)               // the role was taken away; not at a restart
//
// # Who may ask for what
//
// The socket public/run/fence.sock is mounted into every container. Only root
// can open it, so the app (user 2000) cannot. The kernel says which process
// connected (SO_PEERCRED), /proc says in which container it is, and the engine
// says which labels that container has and that the process is its first one.
// The labels decide: nobody can ask for anything of another container.
//
// # What is kept
//
// Below Dir: key (0600, seals specs/), specs/ (one sealed file for each
// version of a process), blobs/ (by SHA-256), crashes.json (who is held back
// until when), public/ (programs and socket). All but the key and public/ are
// caches: without them controllers are asked again.
//
// # States
//
// STARTING until the start-up check succeeds, then RUNNING, then ready when
// the readiness check says so. A container that ends without having been told
// to is CRASHED; Nomad makes a new one at once, and fence lets its launcher
// wait by Cloud Foundry's schedule. STOPPING is told to end. GONE is sent
// once, but for a task, whose end stays in snapshots for an hour.
package fence
