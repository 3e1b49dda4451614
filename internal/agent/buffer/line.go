package buffer

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"logtail/internal/wal"
)

// The small files of the buffer are one line of text: what the file is, its format
// version, a word, and a checksum of all before in hexadecimal digits.
const lineForm = "logtail-buffer-%s %d %s"

func lineSum(what string, version int, word string) string {
	return fmt.Sprintf("%08x", crc32.Checksum(fmt.Appendf(nil, lineForm, what, version, word), castagnoli))
}

func writeLine(f *wal.Faults, path, what string, version int, word string) error {
	return wal.WriteFile(f, path, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, lineForm+" %s\n", what, version, word, lineSum(what, version, word))
		return err
	})
}

// readLine returns the word of a file; "" if there is no file. The error is a
// *wal.VersionError, wraps errDamaged, or comes from reading.
func readLine(path, what string, known int) (word string, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var version int
	var sum string
	n, _ := fmt.Sscanf(string(b), "logtail-buffer-"+what+" %d %s %s", &version, &word, &sum)
	if n < 3 || sum != lineSum(what, version, word) || version < 1 {
		return "", fmt.Errorf("the file %s: %w", path, errDamaged)
	}
	if version > known {
		return "", &wal.VersionError{What: "file " + path, Found: version, Own: known}
	}
	return word, nil
}

// The file of that name says which number comes next, as it was when the buffer was
// closed. So it is noticed if the end of the log is lost, which looks like a
// write that a crash has torn.
const (
	endName    = "end"
	endVersion = 1
)

func (b *Buffer) writeEnd(next uint64) error {
	return writeLine(b.o.Faults, filepath.Join(b.o.Dir, endName), "end", endVersion, strconv.FormatUint(next, 10))
}

// readEnd returns 0 if nothing is known.
func (b *Buffer) readEnd() (uint64, error) {
	path := filepath.Join(b.o.Dir, endName)
	word, err := readLine(path, "end", endVersion)
	if errors.Is(err, errDamaged) {
		b.o.Log.Warn("a file of the disk buffer is damaged; it only helps to notice losses", "file", path)
		return 0, nil
	}
	if err != nil || word == "" {
		return 0, err
	}
	next, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the file %s: %w", path, errDamaged)
	}
	return next, nil
}
