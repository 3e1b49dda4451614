package sls

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// Decode reads an encoded LogGroup. The contents of the logs are views into b;
// everything else is g's own, and its slices are reused. Unknown fields are
// skipped, and of a field that may stand only once the last one counts. A
// TimeNs that is no fraction of a second counts as absent, so that it does not
// cost the log. The error is an *Error: PostBodyInvalid for what is no log
// group, PostBodyTooLarge for what is over a limit; g is of no use after it.
func (g *LogGroup) Decode(b []byte, lim Limits) error {
	g.Logs, g.contents, g.ends = g.Logs[:0], g.contents[:0], g.ends[:0]
	tags := 0
	var topic, source, machine, category []byte
	if len(b) > lim.MaxRaw {
		return NewError(CodePostBodyTooLarge, "a log group of %d bytes; at most %d are taken", len(b), lim.MaxRaw)
	}
	for r := (reader{b: b}); len(r.b) > 0; {
		tag := r.varint()
		switch tag {
		case tagGroupLog:
			if len(g.Logs) == lim.MaxLogs {
				return NewError(CodePostBodyTooLarge, "a log group of more than %d logs", lim.MaxLogs)
			}
			if err := g.decodeLog(r.bytes(), &lim); err != nil {
				return err
			}
		case tagGroupTag:
			if tags == lim.MaxTags {
				return NewError(CodePostBodyTooLarge, "a log group of more than %d tags", lim.MaxTags)
			}
			if err := g.decodeTag(tags, r.bytes(), &lim); err != nil {
				return err
			}
			tags++
		case tagGroupCategory:
			category = r.bytes()
		case tagGroupTopic:
			topic = r.bytes()
		case tagGroupSource:
			source = r.bytes()
		case tagGroupMachineUUID:
			machine = r.bytes()
		default:
			r.skip(tag, 1, 2, 3, 4, 5, 6)
		}
		if r.bad {
			return invalidGroup()
		}
	}
	if max(len(topic), len(source), len(machine), len(category)) > lim.MaxValue {
		return NewError(CodePostBodyTooLarge, "a topic, source or the like of more than %d bytes", lim.MaxValue)
	}
	setString(&g.Topic, topic)
	setString(&g.Source, source)
	setString(&g.MachineUUID, machine)
	setString(&g.Category, category)
	g.Tags = g.Tags[:tags]
	// The contents have stopped moving: now the logs can point into them.
	start := 0
	for i, end := range g.ends {
		g.Logs[i].Contents = g.contents[start:end:end]
		start = end
	}
	return nil
}

func (g *LogGroup) decodeLog(b []byte, lim *Limits) error {
	first := len(g.contents)
	l := Log{Nsec: -1}
	timed := false
	for r := (reader{b: b}); len(r.b) > 0; {
		tag := r.varint()
		switch tag {
		case tagLogContent:
			if len(g.contents)-first == lim.MaxContents || len(g.contents) == lim.MaxFields {
				return NewError(CodePostBodyTooLarge, "more than %d contents in a log or %d in a log group", lim.MaxContents, lim.MaxFields)
			}
			key, value, ok := decodePair(r.bytes())
			if !ok {
				return invalidGroup()
			}
			if len(key) > lim.MaxKey || len(value) > lim.MaxValue {
				return NewError(CodePostBodyTooLarge, "a key of %d and a value of %d bytes; at most %d and %d are taken",
					len(key), len(value), lim.MaxKey, lim.MaxValue)
			}
			g.contents = append(g.contents, Content{Key: key, Value: value})
		case tagLogTime:
			l.Sec = uint32(r.varint())
			timed = true
		case tagLogTimeNs:
			l.Nsec = -1
			if ns := r.fixed32(); ns < nanosPerSecond {
				l.Nsec = int32(ns)
			}
		default:
			r.skip(tag, 1, 2, 4)
		}
		if r.bad {
			return invalidGroup()
		}
	}
	if !timed { // required by the schema
		return invalidGroup()
	}
	g.Logs = append(g.Logs, l)
	g.ends = append(g.ends, len(g.contents))
	return nil
}

func (g *LogGroup) decodeTag(i int, b []byte, lim *Limits) error {
	key, value, ok := decodePair(b)
	if !ok {
		return invalidGroup()
	}
	if len(key) > lim.MaxKey || len(value) > lim.MaxValue {
		return NewError(CodePostBodyTooLarge, "a tag with a key of %d and a value of %d bytes; at most %d and %d are taken",
			len(key), len(value), lim.MaxKey, lim.MaxValue)
	}
	switch {
	case i < len(g.Tags):
	case i < cap(g.Tags):
		g.Tags = g.Tags[:i+1]
	default:
		g.Tags = append(g.Tags, Tag{})
	}
	setString(&g.Tags[i].Key, key)
	setString(&g.Tags[i].Value, value)
	return nil
}

// DecodeLogGroupList reads an encoded LogGroupList, the body of the reply to
// PullLogs. Contents are views into b. The errors are those of
// LogGroup.Decode.
func DecodeLogGroupList(b []byte, lim Limits) ([]LogGroup, error) {
	var groups []LogGroup
	for r := (reader{b: b}); len(r.b) > 0; {
		tag := r.varint()
		if tag == tagListGroup {
			group := r.bytes()
			if r.bad {
				return nil, invalidGroup()
			}
			if len(groups) == lim.MaxGroups {
				return nil, NewError(CodePostBodyTooLarge, "more than %d log groups", lim.MaxGroups)
			}
			groups = append(groups, LogGroup{})
			if err := groups[len(groups)-1].Decode(group, lim); err != nil {
				return nil, err
			}
		} else {
			r.skip(tag, 1)
		}
		if r.bad {
			return nil, invalidGroup()
		}
	}
	return groups, nil
}

func invalidGroup() *Error {
	return NewError(CodePostBodyInvalid, "the body is not an encoded log group")
}

// decodePair reads a key and value, as views into b. Both are required.
func decodePair(b []byte) (key, value []byte, ok bool) {
	// Every encoder writes the key, then the value, and most lengths are one
	// byte: that is read without a loop.
	if len(b) >= 4 && b[0] == tagPairKey && b[1] < 0x80 {
		if k := 2 + int(b[1]); k+2 <= len(b) && b[k] == tagPairValue && b[k+1] < 0x80 && k+2+int(b[k+1]) == len(b) {
			return b[2:k:k], b[k+2 : len(b) : len(b)], true
		}
	}
	return decodePairSlow(b)
}

func decodePairSlow(b []byte) (key, value []byte, ok bool) {
	r := reader{b: b}
	for len(r.b) > 0 {
		switch tag := r.varint(); tag {
		case tagPairKey:
			key = r.bytes()
		case tagPairValue:
			value = r.bytes()
		default:
			r.skip(tag, 1, 2)
		}
		if r.bad {
			return nil, nil, false
		}
	}
	return key, value, key != nil && value != nil
}

// setString sets *s to b, and keeps the string that is there if it is equal,
// since groups of one sender resemble one another.
func setString(s *string, b []byte) {
	if *s != string(b) {
		*s = string(b)
	}
}

// reader consumes protobuf fields. After a failure bad is set, and reads give
// zero values.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) varint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a field with a length; the result is never nil unless it fails.
func (r *reader) bytes() []byte {
	n := r.varint()
	if r.bad || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed32() uint32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// skip passes over the field with the given tag. It fails for the numbers that
// are known: they came with a wrong wire type.
func (r *reader) skip(tag uint64, known ...protowire.Number) {
	if r.bad {
		return
	}
	num, typ := protowire.DecodeTag(tag)
	for _, k := range known {
		if num == k {
			r.fail()
			return
		}
	}
	if num < protowire.MinValidNumber {
		r.fail()
		return
	}
	n := protowire.ConsumeFieldValue(num, typ, r.b)
	if n < 0 {
		r.fail()
		return
	}
	r.b = r.b[n:]
}
