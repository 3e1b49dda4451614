// Package pipeline is the configuration model of the agent: inputs,
// processors, an aggregator, flushers and global settings, in the field names
// of LoongCollector's pipeline files. Reading is strict: an unknown field or a
// wrong value is an error that names the file, the line, the field, the value
// and what is allowed.
package pipeline

// Pipeline is one collection configuration, valid and with defaults applied.
type Pipeline struct {
	Name       string // file stem, or name of the configuration at the service
	Enable     bool
	Global     Global
	Inputs     []Input
	Processors []Processor
	Flushers   []Flusher
}

// Global holds what concerns the whole pipeline.
type Global struct {
	TopicType                 string // "none" (default), "filepath", "machine_group_topic", "custom", "default"
	TopicFormat               string
	EnableTimestampNanosecond bool
	Priority                  int // 0 (high) to 2 (low), default 1
}

// Input is one source of logs: Type is the plug-in's name ("input_file"), File
// its settings (the only input of the agent so far).
type Input struct {
	Type string
	File *InputFile
}

// InputFile is input_file.
type InputFile struct {
	FilePaths                   []string
	MaxDirSearchDepth           int
	ExcludeFilePaths            []string
	ExcludeFiles                []string
	ExcludeDirs                 []string
	FileEncoding                string // "utf8"
	TailingAllMatchedFiles      bool   // collect also files that were idle at the first scan
	TailSizeKB                  int64  // first contact with a larger file starts this far before its end; default 1024
	FlushTimeoutSecs            int    // an unterminated last record is sent after this; default 60
	CloseUnusedReaderInterval   int    `json:"CloseUnusedReaderIntervalSec"` // seconds, default 60
	MaxCheckpointDirSearchDepth int
	// EnableExactlyOnce above 0 makes delivery exactly once also towards SLS
	// itself, by hash key and sequence number. LoongCollector's number of ranges
	// that are sent at once, 0 to 512; here it is one for each file.
	EnableExactlyOnce                int
	AppendingLogPositionMeta         bool
	AllowingIncludedByMultiConfigs   bool
	AllowingCollectingFilesInRootDir bool
	Multiline                        Multiline
	// Once makes the input end when every file that matched at its start has
	// been read to the size it had then (input_static_file_onetime).
	Once bool `json:"-"`
}

// Multiline says how lines join to records. With all patterns empty each line
// is a record.
type Multiline struct {
	Mode                      string // "custom" (default)
	StartPattern              string
	ContinuePattern           string
	EndPattern                string
	UnmatchedContentTreatment string // "single_line" (default) or "discard"
}

// Processor is one processor; exactly one of the pointers is set, by Type.
type Processor struct {
	Type      string
	Regex     *ParseRegex
	JSON      *ParseJSON
	Delimiter *ParseDelimiter
	Timestamp *ParseTimestamp
	Filter    *FilterRegex
}

// ParseOptions are common to the parsers.
type ParseOptions struct {
	SourceKey                     string // default "content"
	KeepingSourceWhenParseFail    bool
	KeepingSourceWhenParseSucceed bool
	RenamedSourceKey              string // default SourceKey
	CopingRawLog                  bool   // adds __raw_log__ on failure
}

// ParseRegex is processor_parse_regex_native.
type ParseRegex struct {
	ParseOptions
	Regex string
	Keys  []string
}

// ParseJSON is processor_parse_json_native.
type ParseJSON struct{ ParseOptions }

// ParseDelimiter is processor_parse_delimiter_native.
type ParseDelimiter struct {
	ParseOptions
	Separator                 string
	Quote                     string // default `"`
	Keys                      []string
	AllowingShortenedFields   bool   // default true
	OverflowedFieldsTreatment string // "extend" (default), "keep", "discard"
}

// ParseTimestamp is processor_parse_timestamp_native.
type ParseTimestamp struct {
	SourceKey      string
	SourceFormat   string // strptime, and %f for a fraction of a second
	SourceTimezone string // "GMT+08:00"; "" = the machine's
	SourceYear     int    // -1 (default): the format names the year; 0: the current one; else that year
	// DiscardOlderSecs is the 12-hour rule in seconds; default 43200, 0 = off.
	// (An extension of ours: elsewhere it is a start-up parameter.)
	DiscardOlderSecs int
}

// FilterRegex is processor_filter_regex_native: all named fields must fully match.
type FilterRegex struct {
	FilterKey   []string
	FilterRegex []string
	Include     map[string]string // another way to write the same
}

// Flusher is one destination; exactly one of the pointers is set, by Type.
type Flusher struct {
	Type      string
	Name      string // stable name within the pipeline: part of the lane
	SLS       *FlusherSLS
	File      *FlusherFile
	Stdout    *FlusherStdout
	Blackhole *FlusherBlackhole
	Batch     Batch
}

// Batch says when an open group is sent: at the first of the three.
type Batch struct {
	MinCnt       int // logs, default 4096
	MinSizeBytes int // encoded bytes, default 512 KiB
	TimeoutSecs  int // default 3
}

// FlusherSLS is flusher_sls.
type FlusherSLS struct {
	Project, Logstore, Region string
	Endpoint                  string // host, host:port or URL
	CompressType              string // "lz4" (default), "zstd", "none"
	MaxSendRate               int64  // raw bytes a second; 0 = unlimited
}

// FlusherFile is flusher_file: one JSON object a line.
type FlusherFile struct {
	FilePath    string
	MaxFileSize int64 // bytes, default 10 MB
	MaxFiles    int   // default 10
}

// FlusherStdout is flusher_stdout: one JSON object a line.
type FlusherStdout struct{}

// FlusherBlackhole is flusher_blackhole: encodes and compresses, sends nowhere.
type FlusherBlackhole struct {
	CompressType string // "lz4" (default), "zstd", "none"
}
