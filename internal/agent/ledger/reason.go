package ledger

import (
	"logtail/internal/agent/event"
	"logtail/internal/delivery"
)

// Reason says by which rule logs or bytes did not arrive as they were written.
// The words are part of the agent's interface: they stand in the state, in the
// metrics and in what logtail status prints.
type Reason string

// The reasons. Table describes each of them.
const (
	ParseFailed   Reason = "parse_failed"
	TimeFailed    Reason = "time_failed"
	Filtered      Reason = "filtered"
	Unmatched     Reason = "unmatched"
	TooOld        Reason = "too_old"
	Split         Reason = "split"
	TruncatedLine Reason = "truncated_line"
	DecodeFailed  Reason = "decode_failed"
	FirstContact  Reason = "first_contact"
	Unmodified    Reason = "unmodified"
	FileTruncated Reason = "file_truncated"
	FileDeleted   Reason = "file_deleted"
	FileDamaged   Reason = "file_damaged"
	BufferFull    Reason = "buffer_full"
	BufferDamaged Reason = "buffer_damaged"
	Refused       Reason = "refused"
	Expired       Reason = "expired"
	Unknown       Reason = "unknown"
)

// Class says what a reason means for the logs.
type Class uint8

// The classes, the worst last.
const (
	// Changed logs arrived, but in another form than they were written.
	Changed Class = iota
	// ByRule are logs that the configuration keeps away.
	ByRule
	// Lost are logs that somebody may miss.
	Lost
)

func (c Class) String() string { return [...]string{"changed", "by_rule", "lost"}[c] }

// Info describes a reason.
type Info struct {
	Reason Reason
	Class  Class
	Doc    string // one sentence for people
}

// table has all reasons, in the order in which the data meets them.
var table = [...]Info{
	{FirstContact, ByRule, "A large file existed before its pipeline, so the bytes before its last megabyte are not collected."},
	{Unmodified, ByRule, "A file existed before its pipeline and has not been modified since, so nothing of it is collected."},
	{FileTruncated, Lost, "The file was truncated or overwritten before these bytes of it were read or could be read again."},
	{FileDeleted, Lost, "The file was deleted before these bytes of it were read or could be read again."},
	{FileDamaged, Lost, "The compressed file is damaged, so these bytes of it cannot be read."},
	{DecodeFailed, Changed, "Bytes that are not valid in the file's encoding were replaced."},
	{Split, Changed, "A log is longer than the limit and was delivered in several parts."},
	{TruncatedLine, Lost, "A log is longer than the limit and the configuration asks to cut it, so its end is not delivered."},
	{Unmatched, Lost, "A line belongs to no multi-line log and the configuration discards such lines."},
	{ParseFailed, Lost, "Parsing failed and the configuration discards what does not parse."},
	{TimeFailed, Changed, "The log's time is not in the given format, so the time of reading stands in its place."},
	{Filtered, ByRule, "The filter of the configuration does not match."},
	{TooOld, Lost, "The log's time was more than 12 hours in the past when it was read."},
	{BufferFull, Lost, "The disk buffer was full and its oldest logs were given up."},
	{BufferDamaged, Lost, "The disk buffer was damaged and these logs cannot be read from it."},
	{Refused, Lost, "The destination refused the logs for good, for example for a wrong key or a logstore that does not exist."},
	{Expired, Lost, "The logs could not be delivered within the time that the destination allows."},
	{Unknown, Lost, "A rule that this version does not know gave the logs up."},
}

// Table returns all reasons, in the order in which the data meets them.
func Table() []Info { return append([]Info(nil), table[:]...) }

// Describe returns what is known of a reason. Of one that a newer version wrote it
// says that it is a loss, so that nothing is hidden.
func Describe(r Reason) Info {
	for _, i := range table {
		if i.Reason == r {
			return i
		}
	}
	return Info{Reason: r, Class: Lost, Doc: "A rule that this version does not know."}
}

// Abandoned returns the reason for ranges that were given up. One that this
// version does not know is Unknown: what is gone must be counted under some name.
func Abandoned(r delivery.Reason) Reason {
	switch r {
	case delivery.ReasonTruncated:
		return FileTruncated
	case delivery.ReasonDeleted:
		return FileDeleted
	case delivery.ReasonBuffer:
		return BufferFull
	case delivery.ReasonRefused:
		return Refused
	case delivery.ReasonTooOld:
		return Expired
	}
	return Unknown
}

// Dropped returns the reason for records that processing took out. Of
// event.Kept it is "", which Add does not count.
func Dropped(r event.Reason) Reason {
	switch r {
	case event.Kept:
		return ""
	case event.Filtered:
		return Filtered
	case event.Unparsed:
		return ParseFailed
	case event.TooOld:
		return TooOld
	case event.Unmatched:
		return Unmatched
	}
	return Unknown
}
