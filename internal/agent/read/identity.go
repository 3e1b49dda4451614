// Package read is the second step of the agent: it knows which file a stream
// is, wherever its path went, and reads chunks of it.
package read

import (
	"io"

	"github.com/cespare/xxhash/v2"
)

// HeadBytes is how much of a file's beginning confirms its identity, as in
// Logtail's signature. While a file is shorter, the hash grows with it.
const HeadBytes = 1024

// Identity is what a file system says about which file this is. A path is only
// where a file was last seen.
type Identity struct {
	Dev   uint64
	Inode uint64
	Birth int64 // unix nanoseconds; 0 where the file system does not tell
}

// Known is what is remembered of a file.
type Known struct {
	Identity
	HeadLen int    // bytes that Head covers, at most HeadBytes
	Head    uint64 // hash of the first HeadLen bytes
	End     uint64 // offset up to which the file was read, for the check of what stands before it
	Tail    uint64 // delivery.TailHash before End; 0 = not known
	Mtime   int64  // when the file was modified at the last look, unix nanoseconds; 0 = not known
}

// Facts is what a file is found to be now. Head and Tail are asked for only
// where they decide.
type Facts struct {
	Identity
	Size int64                                   // bytes of content; -1 = not known (an archive)
	Head func(n int) (hash uint64, ok bool)      // hash of the first n bytes
	Tail func(end uint64) (hash uint64, ok bool) // delivery.TailHash before end
}

// Verdict is the answer to: is this file the one that is known?
type Verdict uint8

// The verdicts.
const (
	Same      Verdict = iota
	Truncated         // the same file, but what was in it is gone: truncated, or rewritten in place
	Other             // another file, also where it got the inode of the known one
)

func (v Verdict) String() string { return [...]string{"same", "truncated", "other"}[v] }

// Decide says whether the file with the given facts is the known one. It is
// the one place where identity is decided.
//
// Inode and birth time must be equal. The device number may have changed, as
// after a reboot, if the content confirms the file. Where the file system does
// not tell the birth time, as many network file systems do not, an equal inode with other
// content may be a reused inode or a rewritten file; both are read from the beginning,
// so it does not matter which. One whose content begins with all that was read
// of the known file is taken for it.
//
// A path plays no part: hard links, and one folder mounted at two places, lead to the
// same file. A file of another inode is another file, also if its content is the
// same: an editor, or a program that rewrites its log, put it there. Where inode numbers
// change by themselves (Stable), the caller asks SameContent before it believes that.
func Decide(k *Known, f *Facts) Verdict {
	if k.Inode != f.Inode || k.Birth != f.Birth && k.Birth != 0 && f.Birth != 0 {
		return Other
	}
	confirmed := k.HeadLen > 0
	if f.Size < int64(k.HeadLen) {
		confirmed = false
	} else if k.HeadLen > 0 {
		if h, ok := f.Head(k.HeadLen); !ok || h != k.Head {
			confirmed = false
		}
	}
	if k.Dev != f.Dev && !confirmed {
		return Other // nothing but an inode number in common
	}
	if k.HeadLen > 0 && !confirmed {
		return changed(k, f)
	}
	if uint64(max(f.Size, 0)) < k.End {
		return changed(k, f)
	}
	if k.End > 0 && k.Tail != 0 {
		if h, ok := f.Tail(k.End); !ok || h != k.Tail {
			return changed(k, f)
		}
	}
	return Same
}

// changed tells a rewritten file from another one that got its inode.
func changed(k *Known, f *Facts) Verdict {
	if k.Birth == 0 || f.Birth == 0 {
		if k.Dev != f.Dev {
			return Other
		}
	}
	return Truncated
}

// SameContent says whether a file with the given facts has the content that is
// known, whatever its identity is: a copy, or what an archive holds. Nothing can be
// said of a file of which no head is known; that is false.
func SameContent(k *Known, f *Facts) bool {
	if k.HeadLen <= 0 {
		return false
	}
	if f.Size >= 0 && (f.Size < int64(k.HeadLen) || uint64(f.Size) < k.End) {
		return false
	}
	if h, ok := f.Head(k.HeadLen); !ok || h != k.Head {
		return false
	}
	if k.End == 0 || k.Tail == 0 {
		return true
	}
	h, ok := f.Tail(k.End)
	return ok && h == k.Tail
}

// strong says whether what is known of the content is enough to find a file by it
// under any name. Two files may well begin with the same few lines.
func (k *Known) strong() bool { return k.HeadLen >= HeadBytes && k.Tail != 0 }

// mtimeSlack is how much older than Known.Mtime a file may seem that has the known
// content: stored times are in whole seconds, some file systems count in two.
const mtimeSlack = 2e9

// older says whether a file was last modified before the known one was, so that it
// cannot have come from it.
func (k *Known) older(mtime int64) bool { return k.Mtime != 0 && mtime < k.Mtime-mtimeSlack }

// HashHead hashes the first n bytes of f; ok is false if there are fewer.
func HashHead(f io.ReaderAt, n int) (hash uint64, ok bool) {
	buf := make([]byte, n)
	if m, _ := f.ReadAt(buf, 0); m < n {
		return 0, false
	}
	return xxhash.Sum64(buf), true
}
