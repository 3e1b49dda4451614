//go:build linux

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
)

// A line is made of blocks that begin with a cell, which says where in which
// line it stands: [file.generation.line.block], in hexadecimal. So each part of
// a line that holds a whole cell can be checked byte by byte, wherever the agent
// has split it. The last 8 bytes are the checksum of the line.
const (
	blockBytes = 64
	cellBytes  = 24
	sumBytes   = len(" crc=") + 8
	maxLines   = 1 << 24 // of a generation
)

// alphabet is what stands between cells; it has no '['.
const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ="

// lineID is a line: a generation is what was written to one file between its
// beginning and the moment when its writer went on in another one.
type lineID struct{ file, gen, n int }

func (id lineID) String() string {
	return fmt.Sprintf("file %d, generation %d, line %d", id.file, id.gen, id.n)
}

// lineMaker makes the lines of a run; they follow from its seed.
type lineMaker struct {
	Seed uint64
	Long bool // some lines are longer than 512 KiB
}

func (m lineMaker) rand(id lineID) *rand.Rand {
	return rand.New(rand.NewPCG(m.Seed^uint64(id.file)<<40^uint64(id.gen)<<24, uint64(id.n)))
}

// length returns the number of bytes of a line, without its end.
func (m lineMaker) length(id lineID) int { return m.size(m.rand(id)) }

func (m lineMaker) size(r *rand.Rand) int {
	var blocks int
	switch u := r.IntN(20_000); {
	case u < 18_000:
		blocks = 1 + r.IntN(5)
	case u < 19_900:
		blocks = 6 + r.IntN(40)
	case u < 19_990:
		blocks = 50 + r.IntN(1000)
	case u < 19_999 || !m.Long:
		blocks = 1000 + r.IntN(4000)
	default:
		blocks = 8193 + r.IntN(20_000)
	}
	return (blocks-1)*blockBytes + 40 + r.IntN(blockBytes-40+1)
}

// add appends the line to b, without its end.
func (m lineMaker) add(b []byte, id lineID) []byte {
	r := m.rand(id)
	from, size := len(b), m.size(r)
	for at := 0; at < size; at += blockBytes {
		b = fmt.Appendf(b, "[%03x.%04x.%06x.%06x]", id.file, id.gen, id.n, at/blockBytes)
		end := min(at+blockBytes, size)
		if end == size {
			end -= sumBytes
		}
		for bits := uint64(0); len(b) < from+end; bits >>= 6 {
			if bits == 0 {
				bits = r.Uint64() | 1<<63
			}
			b = append(b, alphabet[bits&63])
		}
	}
	return fmt.Appendf(b, " crc=%08x", crc32.ChecksumIEEE(b[from:]))
}

var errNotOurs = errors.New("no part of a line that was ever written")

// locate says which bytes of which line content is. It fails if they are not
// exactly those.
func (m lineMaker) locate(content []byte) (id lineID, from, to int, err error) {
	at := -1
	for i := 0; ; {
		n := bytes.IndexByte(content[i:], '[')
		if n < 0 || i+n+cellBytes > len(content) {
			break
		}
		if i += n; cell(content[i:i+cellBytes], &id, &from) {
			at = i
			break
		}
		i++
	}
	if at < 0 || from < at {
		return id, 0, 0, errNotOurs
	}
	from -= at
	to = from + len(content)
	size := m.length(id)
	switch {
	case from == 0 && to == size && size > sumBytes:
		if fmt.Sprintf(" crc=%08x", crc32.ChecksumIEEE(content[:size-sumBytes])) == string(content[size-sumBytes:]) {
			return id, from, to, nil
		}
	case to <= size && bytes.Equal(m.add(nil, id)[from:to], content):
		return id, from, to, nil
	}
	return id, from, to, fmt.Errorf("%s: bytes %d to %d are not what was written", id, from, to)
}

// cell reads a cell; from is the offset of its block in the line.
func cell(b []byte, id *lineID, from *int) bool {
	if b[0] != '[' || b[4] != '.' || b[9] != '.' || b[16] != '.' || b[23] != ']' {
		return false
	}
	for _, f := range []struct {
		text []byte
		to   *int
	}{{b[1:4], &id.file}, {b[5:9], &id.gen}, {b[10:16], &id.n}, {b[17:23], from}} {
		v, err := strconv.ParseUint(string(f.text), 16, 32)
		if err != nil {
			return false
		}
		*f.to = int(v)
	}
	*from *= blockBytes
	return true
}

// cuts returns where a line may be written in two parts, so that each can be
// located: 0 if nowhere.
func cuts(size int, r *rand.Rand) int {
	whole := (size - cellBytes) / blockBytes // blocks behind which a whole cell follows
	if whole < 1 {
		return 0
	}
	return blockBytes * (1 + r.IntN(whole))
}
