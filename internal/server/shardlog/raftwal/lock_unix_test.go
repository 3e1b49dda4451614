//go:build !windows

package raftwal

import "golang.org/x/sys/unix"

// noSpace is what a full disk answers.
const noSpace = unix.ENOSPC
