// Command logtail collects the logs of servers, keeps them and finds them
// again: the agent, the Log Service and their commands in one program.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"logtail/internal/agent/guard"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	args := os.Args[1:]
	if c, _, err := newRoot(stdio{}).Find(args); err == nil && c.Name() == agentCommand {
		guard.BeNamed()
	}
	std := stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	stop := func() {}
	ctx, worker := guard.BeginWorker(context.Background(), std.err)
	if worker == nil {
		ctx, stop = interruptible(ctx, std.err)
	} else {
		std.in = strings.NewReader("") // the real one is the supervisor's
	}
	code := run(ctx, std, args)
	stop()
	os.Exit(worker.ExitCode(code))
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// run executes one command line and returns its exit code. What went wrong is
// said in one line on std.err (one per mistake for a wrong configuration).
func run(ctx context.Context, std stdio, args []string) (code int) {
	defer func() {
		// The last resort: a fault of ours is still one line and an exit code,
		// with the way to the details.
		if r := recover(); r != nil {
			if os.Getenv("LOGTAIL_TRACE") != "" {
				panic(r)
			}
			fmt.Fprintf(std.err, "logtail: internal error: %s; please report it with the output of the same command under LOGTAIL_TRACE=1\n", oneLine(fmt.Sprint(r)))
			code = exitFailed
		}
	}()
	root := newRoot(std)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.WithValue(ctx, argsKey{}, args))
	if err == nil {
		return exitDone
	}
	code, lines := explain(cmd, err)
	for _, line := range lines {
		fmt.Fprintf(std.err, "logtail: %s\n", line)
	}
	return code
}

// argsKey is where a command's context has the whole command line.
type argsKey struct{}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
