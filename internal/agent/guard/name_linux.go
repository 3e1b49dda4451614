package guard

import "os"

// setShortName sets the name that the system has for this process, as shown by
// ps and top. It is for people, so an error, as without /proc, changes nothing.
func setShortName(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0o600) }

// program returns the path of this program. That of /proc is the program that
// runs, also when its file has been replaced by an update or removed since.
func program() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}
