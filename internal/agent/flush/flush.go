// Package flush is the destinations that are not SLS, one folder each.
package flush

import "context"

// Sink is what the send step calls for such a destination. It is called by one
// goroutine at a time.
type Sink interface {
	// Write hands encoded log groups (LogGroup protobuf, not compressed) to the
	// operating system: all of them, or an error. After an error the same
	// groups may be offered again; what can be taken back is taken back, so
	// that the logs are not written twice. An *sls.Error means that the groups
	// themselves are at fault.
	Write(ctx context.Context, groups [][]byte) error
	// Close gives up the destination.
	Close() error
}
