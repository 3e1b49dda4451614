//go:build !linux

package monitor

// mounts knows no mounts here; sweeps find what changes.
type mounts struct{}

func newMounts() *mounts { return &mounts{} }

func (*mounts) close() {}

func (*mounts) changed() []string { return nil }

// of returns a path that holds everything.
func (*mounts) of(string) string { return "/" }
