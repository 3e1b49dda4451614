package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// together is how close two signals are that come from one cause.
const together = 300 * time.Millisecond

// interruptible returns a context that the first Ctrl-C (or SIGTERM, or the end of
// the terminal) ends, so that the command drains and stops; the second ends the
// process at once.
// stop releases the signals. Signals that come together count as one: timeout(1)
// and service managers signal the process and its group, a person needs longer.
func interruptible(parent context.Context, say io.Writer) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2) // two are acted on; more say nothing new
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		var first time.Time
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			if !first.IsZero() {
				if time.Since(first) < together {
					continue
				}
				fmt.Fprintln(say, "logtail: stopped at once; the next start goes on from the last checkpoint")
				os.Exit(exitFailed)
			}
			first = time.Now()
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
