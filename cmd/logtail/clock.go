//go:build !faultclock

package main

import "time"

// clock is the clock of both halves. A build with the tag faultclock has another
// one, which tests can set forward and back.
func clock() time.Time { return time.Now() }
