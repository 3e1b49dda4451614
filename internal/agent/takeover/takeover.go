// Package takeover reads where another agent stood in its files, so that who
// changes agents neither loses nor repeats logs: the registry of Filebeat, the
// database of Fluent Bit's tail input, and the checkpoints of LoongCollector (and of
// iLogtail before it). Each place is compared with the file as it is now; what fits becomes
// a hint in the agent's state, from which the agent goes on when it meets the
// file for the first time.
//
// The formats are those of the other programs; each reader says which versions.
package takeover

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The agents that can be taken over, by the names that users give.
const (
	Filebeat       = "filebeat"
	FluentBit      = "fluent-bit"
	LoongCollector = "loongcollector"
)

// Agents lists them.
func Agents() []string { return []string{Filebeat, FluentBit, LoongCollector} }

// maxInput bounds what is read of another agent's files, in bytes.
const maxInput = 1 << 30

// Place is where another agent stood in a file.
type Place struct {
	Path   string   // where it saw the file last
	Other  []string // other paths at which it may be now
	Dev    uint64   // 0 = not known
	Inode  uint64   // 0 = not known: the file is known by its path or its content
	Offset uint64   // bytes
	// Content says whether the content of a file is the one that the other agent
	// read. Nil: the other agent kept nothing of the content.
	Content func(f io.ReaderAt, size int64) Match
}

// Match is what content says of a file.
type Match uint8

// The answers.
const (
	Unknown Match = iota // it cannot tell
	Yes
	No
)

// Options say what the other agent's files leave open.
type Options struct {
	// FingerprintOffset and FingerprintLength are the settings
	// prospector.scanner.fingerprint.offset and .length of Filebeat, in bytes;
	// a length of 0 is Filebeat's default, 1,024.
	FingerprintOffset, FingerprintLength int64
}

// Found is what was read of another agent's files.
type Found struct {
	Places []Place
	// Notes are sentences about what was left out, and why.
	Notes []string
	// Unreadable is how many records made no sense; the first are named in Notes.
	Unreadable int
}

// maxNamed is how many unreadable records are named.
const maxNamed = 10

func (f *Found) note(format string, a ...any) { f.Notes = append(f.Notes, fmt.Sprintf(format, a...)) }

func (f *Found) unreadable(format string, a ...any) {
	if f.Unreadable++; f.Unreadable <= maxNamed {
		f.note(format, a...)
	}
}

// Read reads the places that the agent from kept in path, see the readers for
// what path may be.
func Read(from, path string, o Options) (*Found, error) {
	switch from {
	case Filebeat:
		return readFilebeat(path, o)
	case FluentBit:
		return readFluentBit(path)
	case LoongCollector:
		return readLoongCollector(path)
	}
	return nil, fmt.Errorf("checkpoints of %q cannot be read; the agents are: %s", from, strings.Join(Agents(), ", "))
}

// readFile reads a whole file of another agent.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("%s is larger than %d bytes; it cannot be the checkpoints of an agent", path, maxInput)
	}
	return b, err
}

// number is a JSON number, or a string of one, that is a whole number from 0 on.
// Some agents write large numbers as floating point.
type number uint64

var errNumber = errors.New("not a whole number from 0 on")

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		return nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f < 0 || f != math.Trunc(f) || f >= 1<<63 {
			return fmt.Errorf("%s is %w", b, errNumber)
		}
		v = uint64(f)
	}
	*n = number(v)
	return nil
}

// paths drops what is empty, and what comes twice.
func paths(list ...string) []string {
	var out []string
	for _, p := range list {
		if p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
