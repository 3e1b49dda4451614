package read

import "io/fs"

// maybe says whether the file could be the known one, without opening it; a
// directory entry of Windows does not tell.
func maybe(fi fs.FileInfo, k *Known) bool { return uint64(fi.Size()) >= k.End }
