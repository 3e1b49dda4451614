package read

// MaxOpen is how many log files may stay open.
func MaxOpen() int64 { return maxOpen }
