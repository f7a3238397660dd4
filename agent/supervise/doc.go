// Package supervise keeps other programs running for the agent: it starts
// them with an explicit environment, restarts them when they die, and finds
// them again after the agent itself was restarted.
//
// # What outlives what
//
// A child is the leader of a session of its own and writes its log to a file
// by itself, so it survives the agent, whatever ends the agent. A pid file with
// the start time of the process and the boot id tells a living child from a
// stranger that has got its number. Run looks there first, then for a process
// that carries the child's marker in its environment (the agent may have died
// between starting it and writing the pid file), and only then starts a new
// one. Two processes over one data directory are never started.
//
// The exit of a process is seen through a pidfd, also of one that was adopted
// and so is nobody's child here; nothing polls for it.
//
// # Logs
//
// Rotation is copy and truncate: the child holds its file in append mode and
// needs no signal, and nothing breaks when the agent dies in the middle. Lines
// written between the copy and the truncation (microseconds) are lost; while
// the agent is away the file is not bounded.
//
// # Secrets
//
// Arguments and environment of a process can be read by others or end up in
// reports. Configuration with secrets goes into files with mode 0600.
package supervise
