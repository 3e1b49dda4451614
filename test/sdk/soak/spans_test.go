//go:build linux

package soak

import "slices"

// span is bytes [from, to) of a line.
type span struct{ from, to int }

// merged returns the spans in order, without overlap, and how many bytes
// overlapped. It sorts list.
func merged(list []span) (out []span, overlap int) {
	slices.SortFunc(list, func(a, b span) int { return a.from - b.from })
	for _, s := range list {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			overlap += max(0, min(s.to, out[n-1].to)-s.from)
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out, overlap
}

// without returns the spans of a that b does not cover; both are merged.
func without(a, b []span) (out []span) {
	for _, s := range a {
		for _, x := range b {
			if x.to <= s.from || x.from >= s.to {
				continue
			}
			if x.from > s.from {
				out = append(out, span{s.from, x.from})
			}
			s.from = x.to
			if s.from >= s.to {
				break
			}
		}
		if s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

func bytesOf(list []span) (n int) {
	for _, s := range list {
		n += s.to - s.from
	}
	return n
}
