package api

// syncDir does nothing: Windows has no way to sync a directory, NTFS journals
// renames.
func syncDir(string) error { return nil }
