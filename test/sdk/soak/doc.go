// Package soak is the fault harness: child processes write numbered lines, the
// real agent and server collect and keep them, and a seeded schedule of faults
// kills, stops, cuts off, fills up and rotates. At the end everything is put to
// rights, and every line that was written must be found exactly once, in order,
// with its checksum, or be counted by the agent under a documented rule.
//
//	LOGTAIL_SOAK=30m             how long faults are injected; unset: the short form
//	LOGTAIL_SOAK_SEED=7          the seed of the schedule; unset: by the clock
//	LOGTAIL_FAULTS=kill,chain    only these faults; a leading minus takes one out of all: -fuse
//	LOGTAIL_SOAK_KEEP=DIR        leave logs and data of a failed run there
//	LOGTAIL_BIN, LOGTAIL_CLOCK_BIN  the program, and the one with the build tag faultclock
package soak
