package pipeline

import "strconv"

// Defaults of the configuration. Where nothing else is said they are those of
// LoongCollector.
const (
	DefaultPriority = 1
	// DefaultTailSizeKB is how far before its end a file that existed before
	// its pipeline is first read, in KiB.
	DefaultTailSizeKB = 1024
	// DefaultFlushTimeoutSecs is how long an unterminated last record waits.
	DefaultFlushTimeoutSecs = 60
	// DefaultCloseUnusedReaderSecs is how long a file that is read to its end
	// stays open.
	DefaultCloseUnusedReaderSecs = 60
	// DefaultDiscardOlderSecs is the 12-hour rule of processor_parse_timestamp_native.
	DefaultDiscardOlderSecs = 12 * 60 * 60
	// DefaultBatchMinCnt is the number of logs that closes a group: the limit
	// of one request in Logtail's documents. (LoongCollector: 4000.)
	DefaultBatchMinCnt = 4096
	// DefaultBatchMinSizeBytes is the encoded size that closes a group.
	DefaultBatchMinSizeBytes = 512 << 10
	// DefaultBatchTimeoutSecs is the age that closes a group.
	DefaultBatchTimeoutSecs = 3
	// DefaultMaxFileSize and DefaultMaxFiles bound what flusher_file keeps.
	DefaultMaxFileSize = 10 << 20
	DefaultMaxFiles    = 10

	defaultSourceKey = "content"
)

// New returns an empty pipeline with the defaults of its own fields.
func New(name string) *Pipeline {
	return &Pipeline{Name: name, Enable: true, Global: Global{TopicType: "none", Priority: DefaultPriority}}
}

// NewInputFile is input_file on the given paths, with defaults.
func NewInputFile(paths ...string) *InputFile {
	return &InputFile{
		FilePaths:                 paths,
		FileEncoding:              "utf8",
		TailSizeKB:                DefaultTailSizeKB,
		FlushTimeoutSecs:          DefaultFlushTimeoutSecs,
		CloseUnusedReaderInterval: DefaultCloseUnusedReaderSecs,
		Multiline:                 Multiline{Mode: "custom", UnmatchedContentTreatment: "single_line"},
	}
}

// NewInputFileOnce is input_static_file_onetime on the given paths, with
// defaults: every file from its first byte, however old it is.
func NewInputFileOnce(paths ...string) *InputFile {
	in := NewInputFile(paths...)
	in.Once = true
	in.TailingAllMatchedFiles = true
	in.TailSizeKB = maxTailSizeKB
	in.FlushTimeoutSecs = 0 // the file does not grow: its last record is complete
	return in
}

// NewParseOptions are the defaults that the parsers share.
func NewParseOptions() ParseOptions {
	return ParseOptions{SourceKey: defaultSourceKey, RenamedSourceKey: defaultSourceKey}
}

// NewParseRegex is processor_parse_regex_native with defaults.
func NewParseRegex(regex string, keys ...string) *ParseRegex {
	return &ParseRegex{ParseOptions: NewParseOptions(), Regex: regex, Keys: keys}
}

// NewParseJSON is processor_parse_json_native with defaults.
func NewParseJSON() *ParseJSON { return &ParseJSON{ParseOptions: NewParseOptions()} }

// NewParseDelimiter is processor_parse_delimiter_native with defaults.
func NewParseDelimiter(separator string, keys ...string) *ParseDelimiter {
	return &ParseDelimiter{
		ParseOptions:              NewParseOptions(),
		Separator:                 separator,
		Quote:                     `"`,
		Keys:                      keys,
		AllowingShortenedFields:   true,
		OverflowedFieldsTreatment: "extend",
	}
}

// NewParseTimestamp is processor_parse_timestamp_native with defaults.
func NewParseTimestamp(sourceKey, format string) *ParseTimestamp {
	return &ParseTimestamp{SourceKey: sourceKey, SourceFormat: format, SourceYear: -1, DiscardOlderSecs: DefaultDiscardOlderSecs}
}

// NewBatch is the default batch.
func NewBatch() Batch {
	return Batch{MinCnt: DefaultBatchMinCnt, MinSizeBytes: DefaultBatchMinSizeBytes, TimeoutSecs: DefaultBatchTimeoutSecs}
}

// NewFlusherSLS is flusher_sls with defaults. The endpoint is a host,
// host:port or URL, without the project.
func NewFlusherSLS(endpoint, project, logstore string) *FlusherSLS {
	return &FlusherSLS{Project: project, Logstore: logstore, Endpoint: endpoint, CompressType: "lz4"}
}

// NewFlusherFile is flusher_file with defaults.
func NewFlusherFile(path string) *FlusherFile {
	return &FlusherFile{FilePath: path, MaxFileSize: DefaultMaxFileSize, MaxFiles: DefaultMaxFiles}
}

// NewFlusherBlackhole is flusher_blackhole with defaults.
func NewFlusherBlackhole() *FlusherBlackhole { return &FlusherBlackhole{CompressType: "lz4"} }

// Add appends a plug-in with its Type set: *InputFile, *ParseRegex, *ParseJSON,
// *ParseDelimiter, *ParseTimestamp, *FilterRegex, *FlusherSLS, *FlusherFile,
// *FlusherStdout or *FlusherBlackhole. Flushers get the default batch and
// name. Anything else is a mistake of the program, and panics.
func (p *Pipeline) Add(plugin any) *Pipeline {
	switch v := plugin.(type) {
	case *InputFile:
		t := TypeInputFile
		if v.Once {
			t = TypeInputFileOnce
		}
		p.Inputs = append(p.Inputs, Input{Type: t, File: v})
	case *ParseRegex:
		p.Processors = append(p.Processors, Processor{Type: TypeParseRegex, Regex: v})
	case *ParseJSON:
		p.Processors = append(p.Processors, Processor{Type: TypeParseJSON, JSON: v})
	case *ParseDelimiter:
		p.Processors = append(p.Processors, Processor{Type: TypeParseDelimiter, Delimiter: v})
	case *ParseTimestamp:
		p.Processors = append(p.Processors, Processor{Type: TypeParseTimestamp, Timestamp: v})
	case *FilterRegex:
		p.Processors = append(p.Processors, Processor{Type: TypeFilterRegex, Filter: v})
	case *FlusherSLS:
		p.Flushers = append(p.Flushers, Flusher{Type: TypeFlusherSLS, SLS: v, Batch: NewBatch()})
	case *FlusherFile:
		p.Flushers = append(p.Flushers, Flusher{Type: TypeFlusherFile, File: v, Batch: NewBatch()})
	case *FlusherStdout:
		p.Flushers = append(p.Flushers, Flusher{Type: TypeFlusherStdout, Stdout: v, Batch: NewBatch()})
	case *FlusherBlackhole:
		p.Flushers = append(p.Flushers, Flusher{Type: TypeFlusherBlackhole, Blackhole: v, Batch: NewBatch()})
	default:
		panic("pipeline: Add of something that is no plug-in")
	}
	p.NameFlushers()
	return p
}

// NameFlushers gives each flusher without a name its default one: its type and
// its number among those of the same type, "flusher_sls#1". Adding a flusher
// at the end, or one of another type anywhere, renames none of the others, so
// their lanes go on.
func (p *Pipeline) NameFlushers() {
	count := map[string]int{}
	for i := range p.Flushers {
		f := &p.Flushers[i]
		count[f.Type]++
		if f.Name == "" {
			f.Name = f.Type + "#" + strconv.Itoa(count[f.Type])
		}
	}
}
