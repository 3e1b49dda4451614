package pipeline

// readPipeline reads the fields of a pipeline over its defaults.
func (r *reader) readPipeline(p *Pipeline, n *node) {
	o := r.object("", n)
	o.boolean("enable", &p.Enable)
	if g := o.child("global"); g != nil {
		readGlobal(g, &p.Global)
	}
	o.list("inputs", func(o *object) { p.Inputs = append(p.Inputs, readInput(o)) })
	o.list("processors", func(o *object) { p.Processors = append(p.Processors, readProcessor(o)) })
	o.list("flushers", func(o *object) { p.Flushers = append(p.Flushers, readFlusher(o)) })
	o.unsupported("aggregators")
	o.unsupported("extensions")
	// Written by consoles, operators and exports; they do not change what is
	// collected.
	o.ignored("configName", "createTime", "lastModifyTime", "logSample", "version")
	o.done()
	p.NameFlushers()
}

func readGlobal(o *object, g *Global) {
	o.text("TopicType", &g.TopicType)
	o.text("TopicFormat", &g.TopicFormat)
	o.boolean("EnableTimestampNanosecond", &g.EnableTimestampNanosecond)
	o.integer("Priority", &g.Priority)
	o.unsupported("UsingOldContentTag", "false")
	o.unsupported("PipelineMetaTagKey")
	o.unsupported("AgentEnvMetaTagKey")
	o.unsupported("ExcutionTimeout")
	o.unsupported("ForceRerunWhenUpdate", "false")
	// Settings of LoongCollector's extended (Go) plug-ins. Native pipelines do
	// not read them there either.
	o.ignored("StructureType", "InputIntervalMs", "InputMaxFirstCollectDelayMs", "AggregatIntervalMs",
		"FlushIntervalMs", "DefaultLogQueueSize", "DefaultLogGroupQueueSize")
	o.done()
}

func readInput(o *object) Input {
	var in Input
	o.text("Type", &in.Type)
	switch in.Type {
	case TypeInputFile:
		in.File = NewInputFile()
		readInputFile(o, in.File)
	case TypeInputFileOnce:
		in.File = NewInputFileOnce()
		readInputFile(o, in.File)
	default:
		return in // Validate says what is wrong with the type; its fields are unknown
	}
	o.done()
	return in
}

func readInputFile(o *object, f *InputFile) {
	o.texts("FilePaths", &f.FilePaths)
	o.integer("MaxDirSearchDepth", &f.MaxDirSearchDepth)
	o.texts("ExcludeFilePaths", &f.ExcludeFilePaths)
	o.texts("ExcludeFiles", &f.ExcludeFiles)
	o.texts("ExcludeDirs", &f.ExcludeDirs)
	o.text("FileEncoding", &f.FileEncoding)
	o.boolean("AppendingLogPositionMeta", &f.AppendingLogPositionMeta)
	o.boolean("AllowingIncludedByMultiConfigs", &f.AllowingIncludedByMultiConfigs)
	o.boolean("AllowingCollectingFilesInRootDir", &f.AllowingCollectingFilesInRootDir)
	if m := o.child("Multiline"); m != nil {
		m.text("Mode", &f.Multiline.Mode)
		m.text("StartPattern", &f.Multiline.StartPattern)
		m.text("ContinuePattern", &f.Multiline.ContinuePattern)
		m.text("EndPattern", &f.Multiline.EndPattern)
		m.text("UnmatchedContentTreatment", &f.Multiline.UnmatchedContentTreatment)
		m.unsupported("IgnoringUnmatchWarning", "false")
		m.unsupported("FileWriteMode", `"append"`)
		m.unsupported("MaxWholeFileBytes", "10485760")
		m.done()
	}
	o.unsupported("EnableContainerDiscovery", "false")
	o.unsupported("ContainerFilters")
	o.unsupported("ExternalK8sLabelTag")
	o.unsupported("ExternalEnvTag")
	o.unsupported("CollectingContainersMeta", "false")
	o.unsupported("Tags")
	o.unsupported("FileOffsetKey", `"__file_offset__"`)
	if f.Once {
		return // nothing of what follows has a meaning for a file that is read once
	}
	o.boolean("TailingAllMatchedFiles", &f.TailingAllMatchedFiles)
	o.integer64("TailSizeKB", &f.TailSizeKB)
	o.integer("FlushTimeoutSecs", &f.FlushTimeoutSecs)
	o.integer("CloseUnusedReaderIntervalSec", &f.CloseUnusedReaderInterval)
	o.integer("MaxCheckpointDirSearchDepth", &f.MaxCheckpointDirSearchDepth)
	o.unsupported("PreservedDirDepth", "-1")
	o.unsupported("ReadDelaySkipThresholdBytes", "0")
	o.unsupported("ReadDelayAlertThresholdBytes", "209715200")
	o.unsupported("RotatorQueueSize", "20")
	o.integer("EnableExactlyOnce", &f.EnableExactlyOnce)
}

func readProcessor(o *object) Processor {
	var p Processor
	o.text("Type", &p.Type)
	switch p.Type {
	case TypeParseRegex:
		p.Regex = NewParseRegex("")
		readParseOptions(o, &p.Regex.ParseOptions)
		o.text("Regex", &p.Regex.Regex)
		o.texts("Keys", &p.Regex.Keys)
	case TypeParseJSON:
		p.JSON = NewParseJSON()
		readParseOptions(o, &p.JSON.ParseOptions)
	case TypeParseDelimiter:
		p.Delimiter = NewParseDelimiter("")
		readParseOptions(o, &p.Delimiter.ParseOptions)
		o.text("Separator", &p.Delimiter.Separator)
		o.text("Quote", &p.Delimiter.Quote)
		o.texts("Keys", &p.Delimiter.Keys)
		o.boolean("AllowingShortenedFields", &p.Delimiter.AllowingShortenedFields)
		o.text("OverflowedFieldsTreatment", &p.Delimiter.OverflowedFieldsTreatment)
		if p.Delimiter.Separator == `\t` { // the two characters, as LoongCollector takes them
			p.Delimiter.Separator = "\t"
		}
	case TypeParseTimestamp:
		p.Timestamp = NewParseTimestamp("", "")
		o.text("SourceKey", &p.Timestamp.SourceKey)
		o.text("SourceFormat", &p.Timestamp.SourceFormat)
		o.text("SourceTimezone", &p.Timestamp.SourceTimezone)
		o.integer("SourceYear", &p.Timestamp.SourceYear)
		o.integer("DiscardOlderSecs", &p.Timestamp.DiscardOlderSecs)
	case TypeFilterRegex:
		p.Filter = &FilterRegex{}
		o.texts("FilterKey", &p.Filter.FilterKey)
		o.texts("FilterRegex", &p.Filter.FilterRegex)
		o.textMap("Include", &p.Filter.Include)
		o.unsupported("ConditionExp")
		o.unsupported("DiscardingNonUTF8", "false")
	default:
		return p
	}
	o.done()
	return p
}

func readParseOptions(o *object, p *ParseOptions) {
	o.text("SourceKey", &p.SourceKey)
	p.RenamedSourceKey = p.SourceKey
	o.text("RenamedSourceKey", &p.RenamedSourceKey)
	o.boolean("KeepingSourceWhenParseFail", &p.KeepingSourceWhenParseFail)
	o.boolean("KeepingSourceWhenParseSucceed", &p.KeepingSourceWhenParseSucceed)
	o.boolean("CopingRawLog", &p.CopingRawLog)
}

func readFlusher(o *object) Flusher {
	f := Flusher{Batch: NewBatch()}
	o.text("Type", &f.Type)
	switch f.Type {
	case TypeFlusherSLS:
		f.SLS = NewFlusherSLS("", "", "")
		readFlusherSLS(o, f.SLS)
	case TypeFlusherFile:
		f.File = NewFlusherFile("")
		o.text("FilePath", &f.File.FilePath)
		o.integer64("MaxFileSize", &f.File.MaxFileSize)
		o.integer("MaxFiles", &f.File.MaxFiles)
	case TypeFlusherStdout:
		f.Stdout = &FlusherStdout{}
	case TypeFlusherBlackhole:
		f.Blackhole = NewFlusherBlackhole()
		o.text("CompressType", &f.Blackhole.CompressType)
	default:
		return f
	}
	o.text("Name", &f.Name)
	if b := o.child("Batch"); b != nil {
		b.integer("MinCnt", &f.Batch.MinCnt)
		b.integer("MinSizeBytes", &f.Batch.MinSizeBytes)
		b.integer("TimeoutSecs", &f.Batch.TimeoutSecs)
		b.done()
	}
	o.done()
	return f
}

func readFlusherSLS(o *object, s *FlusherSLS) {
	o.text("Project", &s.Project)
	o.text("Logstore", &s.Logstore)
	o.text("Region", &s.Region)
	o.text("Endpoint", &s.Endpoint)
	o.text("CompressType", &s.CompressType)
	o.integer64("MaxSendRate", &s.MaxSendRate)
	if s.MaxSendRate == -1 { // LoongCollector's other way to write "unlimited"
		s.MaxSendRate = 0
	}
	o.unsupported("TelemetryType", `"logs"`)
	o.unsupported("Workspace")
	o.unsupported("EndpointMode", `"default"`)
	o.unsupported("ShardHashKeys")
	o.unsupported("ExtraHeaders")
	o.unsupported("Match")
}
