package sls

// Limits bound what a decoder accepts, and with it the memory that a peer can
// make it take. Whatever is over a limit is refused with PostBodyTooLarge.
type Limits struct {
	MaxRaw      int // bytes of a log group before compression
	MaxLogs     int // logs of a group
	MaxContents int // contents of a log
	MaxFields   int // contents of all logs of a group together
	MaxTags     int // tags of a group
	MaxKey      int // bytes of a key
	MaxValue    int // bytes of a value, also of topic, source and the like
	MaxPackages int // packages of a package list
	MaxGroups   int // groups of a LogGroupList
}

// DefaultLimits are what our service takes. SLS documents 10 MB and 4,096 logs
// for a write and 1 MB for a value; where a stock agent would throw the group
// away because of the refusal, we take several times as much.
var DefaultLimits = Limits{
	MaxRaw:      10 << 20,
	MaxLogs:     40_960,
	MaxContents: 10_000,
	MaxFields:   1 << 20,
	MaxTags:     1_000,
	MaxKey:      64 << 10,
	MaxValue:    10 << 20,
	MaxPackages: 10_000,
	MaxGroups:   10_000,
}
