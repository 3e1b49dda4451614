package sls

import (
	"encoding/binary"
	"math/bits"
)

// Tag bytes (field number << 3 | wire type) of the messages of SLS's log.proto.
const (
	tagGroupLog         = 1<<3 | 2 // LogGroup.Logs
	tagGroupCategory    = 2<<3 | 2
	tagGroupTopic       = 3<<3 | 2
	tagGroupSource      = 4<<3 | 2
	tagGroupMachineUUID = 5<<3 | 2
	tagGroupTag         = 6<<3 | 2 // LogGroup.LogTags

	tagLogTime    = 1 << 3 // a varint
	tagLogContent = 2<<3 | 2
	tagLogTimeNs  = 4<<3 | 5 // fixed32, not a varint

	tagPairKey   = 1<<3 | 2 // of Log.Content and of LogTag
	tagPairValue = 2<<3 | 2

	tagListGroup = 1<<3 | 2 // LogGroupList.LogGroups
)

// nanosPerSecond bounds Log.TimeNs.
const nanosPerSecond = 1_000_000_000

// AppendLog appends one log, as a member of an encoded LogGroup, to dst. sec
// is the log's time in unix seconds, nsec the nanoseconds within it or
// negative if not known. It writes what the stock SDK's marshaller writes, and
// allocates only when dst has to grow. A group is the concatenation of its
// logs, topic, source, machine and tags, in any order.
func AppendLog(dst []byte, sec uint32, nsec int32, contents []Content) []byte {
	size := 1 + varintLen(uint64(sec))
	for i := range contents {
		n := pairLen(len(contents[i].Key), len(contents[i].Value))
		size += 1 + varintLen(uint64(n)) + n
	}
	if nsec >= 0 {
		size += 1 + 4
	}
	dst = append(dst, tagGroupLog)
	dst = appendVarint(dst, uint64(size))
	dst = append(dst, tagLogTime)
	dst = appendVarint(dst, uint64(sec))
	for i := range contents {
		key, value := contents[i].Key, contents[i].Value
		dst = append(dst, tagLogContent)
		dst = appendVarint(dst, uint64(pairLen(len(key), len(value))))
		dst = append(dst, tagPairKey)
		dst = appendVarint(dst, uint64(len(key)))
		dst = append(dst, key...)
		dst = append(dst, tagPairValue)
		dst = appendVarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	if nsec >= 0 {
		dst = append(dst, tagLogTimeNs)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(nsec))
	}
	return dst
}

// AppendTopic appends the group's topic; nothing if it is empty.
func AppendTopic(dst []byte, v string) []byte { return appendField(dst, tagGroupTopic, v) }

// AppendSource appends the group's source, by custom the address of the host;
// nothing if it is empty.
func AppendSource(dst []byte, v string) []byte { return appendField(dst, tagGroupSource, v) }

// AppendMachineUUID appends the id of the machine that the group comes from;
// nothing if it is empty.
func AppendMachineUUID(dst []byte, v string) []byte { return appendField(dst, tagGroupMachineUUID, v) }

// AppendTag appends a tag of the group. Names are without the "__tag__:" by
// which queries call them.
func AppendTag(dst []byte, key, value string) []byte {
	dst = append(dst, tagGroupTag)
	dst = appendVarint(dst, uint64(pairLen(len(key), len(value))))
	dst = append(dst, tagPairKey)
	dst = appendVarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = append(dst, tagPairValue)
	dst = appendVarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// AppendTo appends the encoded group, with its parts in the order of the stock
// SDK's marshaller.
func (g *LogGroup) AppendTo(dst []byte) []byte {
	for i := range g.Logs {
		dst = AppendLog(dst, g.Logs[i].Sec, g.Logs[i].Nsec, g.Logs[i].Contents)
	}
	dst = appendField(dst, tagGroupCategory, g.Category)
	dst = AppendTopic(dst, g.Topic)
	dst = AppendSource(dst, g.Source)
	dst = AppendMachineUUID(dst, g.MachineUUID)
	for _, t := range g.Tags {
		dst = AppendTag(dst, t.Key, t.Value)
	}
	return dst
}

// AppendLogGroupListEntry appends an encoded group as a member of an encoded
// LogGroupList, the body of the reply to PullLogs.
func AppendLogGroupListEntry(dst, group []byte) []byte {
	dst = append(dst, tagListGroup)
	dst = appendVarint(dst, uint64(len(group)))
	return append(dst, group...)
}

// appendField appends a string field whose tag is one byte.
func appendField(dst []byte, tag byte, v string) []byte {
	if v == "" {
		return dst
	}
	dst = append(dst, tag)
	dst = appendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// pairLen is the encoded length of a key and value.
func pairLen(key, value int) int {
	return 1 + varintLen(uint64(key)) + key + 1 + varintLen(uint64(value)) + value
}

// varintLen is the encoded length of v.
func varintLen(v uint64) int {
	return (bits.Len64(v|1) + 6) / 7
}

// appendVarint is binary.AppendUvarint with the short cases, which are nearly
// all, inlined.
func appendVarint(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v))
	}
	return binary.AppendUvarint(dst, v)
}
