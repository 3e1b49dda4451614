package monitor

// entryKind is what a path is.
type entryKind uint8

const (
	kindUnknown entryKind = iota // the directory's entry does not tell
	kindFile                     // a regular file: the only kind that is collected
	kindDir
	kindLink
	kindOther // pipe, socket, device
)

// status is what a look at a path tells.
type status struct {
	id    uint64 // identity: differs when another file or directory is at the path; never 0
	size  int64  // bytes
	mtime int64  // unix nanoseconds
	kind  entryKind
}

// identity makes one number of device, inode and birth time (0 if not known).
// It only serves to notice that something else is at a path; whose content a
// file holds is decided by the reader.
func identity(dev, ino, birth uint64) uint64 {
	h := scramble(scramble(scramble(dev)^ino) ^ birth)
	if h == 0 {
		return 1
	}
	return h
}

// scramble is the finalizer of splitmix64 (Steele, Lea, Flood 2014): a
// bijection in which every input bit changes half of the output bits.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
