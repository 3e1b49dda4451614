package status

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// addressFile has the Address, in the agent's data folder.
	addressFile = "status.json"
	// socketDir and socketName are where the socket is in the agent's data folder.
	// Only the owner may enter the folder, so nobody else reaches
	// the socket also in the moment before it has its own mode.
	socketDir, socketName = "status", "sock"
	// maxSocketPath is the longest path of a socket, in bytes: systems allow 104 and more.
	maxSocketPath = 100
	// privatePrefix begins the name of a folder for the socket of an agent whose
	// data folder has too long a path.
	privatePrefix = "logtail-status-"
	// dialTime is how long it may take to connect; it is this machine.
	dialTime = 2 * time.Second
)

// Address is where an agent answers. Its file is readable by its owner only.
type Address struct {
	Network string    `json:"network"` // "unix", or "tcp" on the loopback address
	Address string    `json:"address"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Token   string    `json:"token,omitempty"` // of tcp: proves that one can read the file
}

// listenLocal opens the socket of the data folder dir. Where there can be none
// it takes one in a private temporary folder, else a port of the loopback
// address that only answers who knows the token.
func listenLocal(dir string, now time.Time) (net.Listener, Address, error) {
	a := Address{Network: "unix", PID: os.Getpid(), Started: now}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, a, err
	}
	clean(dir)
	a.Address = filepath.Join(dir, socketDir, socketName)
	ln, first := listenSocket(a.Address)
	if first == nil {
		return ln, a, nil
	}
	if errors.Is(first, errAlive) {
		return nil, a, first
	}
	if tmp, err := os.MkdirTemp("", privatePrefix); err == nil {
		a.Address = filepath.Join(tmp, socketName)
		if ln, err = listenSocket(a.Address); err == nil {
			return ln, a, nil
		}
		_ = os.Remove(tmp) // it is empty
	}
	a.Network, a.Token = "tcp", rand.Text()
	if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // a local address needs no name server
		return nil, a, errors.Join(first, err)
	}
	a.Address = ln.Addr().String()
	return ln, a, nil
}

// errAlive says that another agent answers at the socket.
var errAlive = errors.New("another agent answers there")

// listenSocket opens a socket that only this user can connect to. A socket that
// a dead process left is replaced.
func listenSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%s is longer than %d bytes, the most for a socket", path, maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		if alive(path) {
			return nil, fmt.Errorf("%s: %w", path, errAlive)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", path) //nolint:noctx // a local address needs no name server
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && runtime.GOOS != "windows" {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// alive says whether a process listens at a socket. One that is stopped or
// overloaded does not answer, but it is there.
func alive(path string) bool {
	conn, err := net.DialTimeout("unix", path, dialTime) //nolint:noctx // it is this machine, and has its own limit
	if err != nil {
		var t interface{ Timeout() bool }
		return errors.As(err, &t) && t.Timeout() || errors.Is(err, syscall.EAGAIN)
	}
	conn.Close()
	return true
}

// clean removes the private folder that an agent that was killed has left.
func clean(dir string) {
	a, err := readAddress(dir)
	if err != nil || a.Network != "unix" {
		return
	}
	private := filepath.Dir(a.Address)
	if filepath.Dir(private) != filepath.Clean(os.TempDir()) || !strings.HasPrefix(filepath.Base(private), privatePrefix) || alive(a.Address) {
		return
	}
	// Nothing but what listenLocal has made there goes.
	_ = os.Remove(filepath.Join(private, socketName))
	_ = os.Remove(private)
}

// remove takes the address back; the listener is closed.
func (a *Address) remove(dir string) {
	if b, err := readAddress(dir); err == nil && b.PID == a.PID && b.Address == a.Address {
		_ = os.Remove(filepath.Join(dir, addressFile))
	}
	if a.Network == "unix" {
		_ = os.Remove(a.Address) // closing has removed it, but on every system
		_ = os.Remove(filepath.Dir(a.Address))
	}
}

// write stores the address, in one step.
func (a *Address) write(dir string) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, addressFile+".*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, addressFile))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func readAddress(dir string) (Address, error) {
	var a Address
	text, err := os.ReadFile(filepath.Join(dir, addressFile))
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, addressFile), err)
	}
	if a.Network != "unix" && a.Network != "tcp" {
		return a, fmt.Errorf("%s names the network %q; it was written by a newer logtail", filepath.Join(dir, addressFile), a.Network)
	}
	return a, nil
}

// addresses are where an agent of the data folder may answer: its file may be
// missing if the disk was full at its start.
func addresses(dir string) ([]Address, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var list []Address
	a, err := readAddress(dir)
	switch {
	case err == nil:
		list = append(list, a)
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	if path := filepath.Join(dir, socketDir, socketName); len(path) <= maxSocketPath && path != a.Address {
		list = append(list, Address{Network: "unix", Address: path})
	}
	return list, nil
}
