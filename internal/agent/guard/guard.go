// Package guard keeps the agent running: it is two processes of one program, a
// worker that collects and a supervisor that does nothing but start it again
// when it ends by a crash or by kill -9.
//
// The two are joined by one pipe, the worker's standard input, which only the
// supervisor writes to. It works the same on every system and needs no
// polling:
//
//   - a byte asks the worker to stop: it delivers what it has read and ends;
//   - the end of the pipe says that the supervisor is gone. The worker then stops
//     in the same way, so that another agent can take its folder over; if it was
//     stopping already, somebody is impatient and it ends at once.
//
// The worker answers with its exit code. A mistake in the configuration ends
// both processes, as it would only be made again; everything else that the
// supervisor did not ask for is an unexpected end. So is the end of a worker that a
// limit of memory or CPU time asks for: such a limit belongs beside the wait for
// the worker's end, in supervisor.watch.
package guard

import "time"

// Names of the processes, as Logtail's are found by tools and people. The
// system's short name of a process has 15 bytes.
const (
	SupervisorName = "ilogtail"
	WorkerName     = "ilogtail_w"
)

// workerEnv makes a process of this program a worker. The worker takes it out
// of its environment, so that nothing that it starts is taken for one.
const workerEnv = "LOGTAIL_SUPERVISED"

// stopByte asks the worker to stop.
const stopByte = 's'

// Exit codes of a worker that could not start: one of these and the code that
// the program would have had. No signal or crash of a Go program has such a code.
const (
	codeConfig = 100 // wrong usage or configuration
	codeStart  = 110 // all else: the data folder, a state in use, a full disk
)

const (
	// firstPause is the wait before the second start in a row; the first is made at once.
	firstPause = time.Second
	// longestPause is the longest wait between two starts.
	longestPause = time.Minute
	// healthyTime is how long a worker must live for its end to be the first again.
	healthyTime = 10 * time.Minute
	// stopTime is how long a worker may take to stop before it is killed.
	stopTime = time.Minute
)

// backoff says how long to wait before a worker is started again.
type backoff struct{ ends int }

// next returns the wait after a worker that lived for a time has ended.
func (b *backoff) next(lived time.Duration) time.Duration {
	if lived >= healthyTime {
		b.ends = 0
	}
	b.ends++
	pause := time.Duration(0)
	for i := 1; i < b.ends && pause < longestPause; i++ {
		pause = max(2*pause, firstPause)
	}
	return min(pause, longestPause)
}
