package raftwal

import "golang.org/x/sys/windows"

// noSpace is what a full disk answers.
const noSpace = windows.ERROR_DISK_FULL
