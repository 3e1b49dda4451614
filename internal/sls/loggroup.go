// Package sls is the wire of the Simple Log Service: log group encoding,
// package lists, compression, signatures, error codes and an HTTP client.
//
// What goes over the wire is the public protocol of SLS (API version 0.6.0), so
// stock SDKs, producers and agents can talk to our service and our agent can
// talk to any SLS endpoint. What is ours is in fields and headers that stock
// peers ignore: see Package.Range and HeaderDelivery.
package sls

// Content is one key and value of a log; both are views.
type Content struct{ Key, Value []byte }

// Tag is one key and value that holds for all logs of a group.
type Tag struct{ Key, Value string }

// Log is one log of a group.
type Log struct {
	Sec      uint32    // unix seconds
	Nsec     int32     // nanoseconds within Sec, 0 to 999,999,999; -1 if not known
	Contents []Content // in the order of the wire; keys may repeat
}

// LogGroup is a batch of logs with what they have in common. The zero value is
// an empty group.
type LogGroup struct {
	Logs        []Log
	Topic       string
	Source      string // host or address that the logs come from
	MachineUUID string
	Category    string // deprecated by SLS; kept so that nothing is lost in passing
	Tags        []Tag

	contents []Content // backs Logs[i].Contents
	ends     []int     // end of each log in contents, while decoding
}
