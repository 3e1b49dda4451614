package server

// connLimit is mostConns: Windows has no small limit of open handles.
func connLimit() int { return mostConns }
