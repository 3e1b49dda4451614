//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filterEnv names the program that this one is to become, with a filter of
// system calls; fsyncEnv is "skip" if the filter answers fsync itself.
const (
	filterEnv = "LOGTAIL_BENCH_FILTERED"
	fsyncEnv  = "LOGTAIL_BENCH_FSYNC"
	skip      = "skip"
)

// asServer makes this program stand in for the program bin, as what lab starts.
func asServer(bin string, fsyncs bool, start func(self string) error) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	mode := ""
	if !fsyncs {
		mode = skip
	}
	if err := os.Setenv(fsyncEnv, mode); err != nil {
		return err
	}
	if err := os.Setenv(filterEnv, bin); err != nil {
		return err
	}
	return errors.Join(start(self), os.Unsetenv(filterEnv))
}

// withFilter becomes the program bin, with the arguments of this one and a
// seccomp filter. The filter makes fsync and fdatasync succeed without being
// done, or lets them pass: a filter costs something by itself, so both sides have
// one. It returns only if that fails.
func withFilter(bin string) error {
	answer := uint32(unix.SECCOMP_RET_ALLOW)
	if os.Getenv(fsyncEnv) == skip {
		answer = unix.SECCOMP_RET_ERRNO // with the number 0: success
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: unix.SYS_FSYNC},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_FDATASYNC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: answer},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the filter is the thread's, and that thread becomes the program
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no filter of system calls: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("no filter of system calls: %w", err)
	}
	return fmt.Errorf("%s: %w", bin, syscall.Exec(bin, append([]string{bin}, os.Args[1:]...), os.Environ()))
}
