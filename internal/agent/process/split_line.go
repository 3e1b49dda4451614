package process

import (
	"bytes"

	"logtail/internal/agent/event"
)

// lineSplitter makes each line a record. It has no scratch.
type lineSplitter struct {
	max int // longest record in bytes
}

func (s lineSplitter) Clone() Splitter { return s }

func (s lineSplitter) Split(b *event.Batch, chunk []byte, base uint64, mode Mode) (int, bool) {
	pos, mid := 0, mode&Mid != 0
	for !b.Full() && pos < len(chunk) {
		n := bytes.IndexByte(chunk[pos:], '\n')
		eol, whole := pos+n, n >= 0
		if !whole {
			eol = len(chunk)
		}
		if tooLong := eol-pos > s.max; tooLong || !whole {
			to := eol
			switch {
			case tooLong:
				to = cut(chunk, pos, pos+s.max)
			case mode&Final != 0:
			case mode&Full != 0 && pos == 0:
				to = cut(chunk, 0, eol)
			default:
				return pos, mid // the line goes on behind the chunk
			}
			// A part that is none of a too long record is the unterminated end.
			if tooLong || mode&Final == 0 {
				b.Splits++
			}
			if t := text(chunk, pos, to); len(t) > 0 || !mid {
				b.Next(t, base+uint64(to))
			}
			return to, true
		}
		if t := text(chunk, pos, eol); len(t) > 0 || !mid {
			b.Next(t, base+uint64(eol+1))
		}
		pos, mid = eol+1, false
	}
	return pos, mid
}
