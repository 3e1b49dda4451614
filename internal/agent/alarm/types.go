package alarm

// Type is the kind of an alarm, in the spelling that Logtail documents and that
// users search for (two of the names are misspelled there, and so here).
type Type string

// Files and directories.
const (
	LogfilePermission    Type = "LOGFILE_PERMINSSION_ALARM" // no right to read a file
	LogdirPermission     Type = "LOGDIR_PERMINSSION_ALARM"  // no right to read a directory
	RegisterInotifyFail  Type = "REGISTER_INOTIFY_FAIL_ALARM"
	InotifyDirNumLimit   Type = "INOTIFY_DIR_NUM_LIMIT_ALARM"
	InotifyEventOverflow Type = "INOTIFY_EVENT_OVERFLOW_ALARM"
	EpollError           Type = "EPOLL_ERROR_ALARM"
	StatLimit            Type = "STAT_LIMIT_ALARM" // too many files under the directories of a pipeline
	DirExceedLimit       Type = "DIR_EXCEED_LIMIT_ALARM"
	FileReaderExceed     Type = "FILE_READER_EXCEED_ALARM"
	OpenFileLimit        Type = "OPEN_FILE_LIMIT_ALARM"
	OpenLogfileFail      Type = "OPEN_LOGFILE_FAIL_ALARM"
	ModifyFileExceed     Type = "MODIFY_FILE_EXCEED_ALARM"
	UnexpectedFileType   Type = "UNEXPECTED_FILE_TYPE_MODE_ALARM" // not a regular file
	LogTruncate          Type = "LOG_TRUNCATE_ALARM"              // the same file got smaller
	InnerProfile         Type = "INNER_PROFILE_ALARM"             // device or inode changed, new reader
	Checkpoint           Type = "CHECKPOINT_ALARM"
	CheckpointV2         Type = "CHECKPOINT_V2_ALARM"
	LoadLocalEvent       Type = "LOAD_LOCAL_EVENT_ALARM"
)

// Configuration.
const (
	MultiConfigMatch Type = "MULTI_CONFIG_MATCH_ALARM" // several pipelines want the same file
	CategoryConfig   Type = "CATEGORY_CONFIG_ALARM"    // a pipeline cannot be used
	SameConfig       Type = "SAME_CONFIG_ALARM"
	TooManyConfig    Type = "TOO_MANY_CONFIG_ALARM"
	UserConfig       Type = "USER_CONFIG_ALARM"
	GlobalConfig     Type = "GLOBAL_CONFIG_ALARM"
	LogtailConfig    Type = "LOGTAIL_CONFIG_ALARM"
	ConfigUpdate     Type = "CONFIG_UPDATE_ALARM"
	FilterInit       Type = "FILTER_INIT_ALARM"
)

// Parsing.
const (
	SplitLogFail      Type = "SPLIT_LOG_FAIL_ALARM"  // a line starts no record, or a record is over the size limit
	RegexMatch        Type = "REGEX_MATCH_ALARM"     // the regular expression does not match the whole text
	ParseLogFail      Type = "PARSE_LOG_FAIL_ALARM"  // JSON or delimited text is malformed
	ParseTimeFail     Type = "PARSE_TIME_FAIL_ALARM" // the time is not in the given format
	OutdatedLog       Type = "OUTDATED_LOG_ALARM"    // the 12-hour rule
	EncodingConvert   Type = "ENCODING_CONVERT_ALARM"
	CastSensitiveWord Type = "CAST_SENSITIVE_WORD_ALARM"
	ProcessTooSlow    Type = "PROCESS_TOO_SLOW_ALARM"
)

// Throughput and sending.
const (
	ReadLogDelay        Type = "READ_LOG_DELAY_ALARM"
	SkipReadLog         Type = "SKIP_READ_LOG_ALARM" // the head of a file was skipped by rule
	DropLog             Type = "DROP_LOG_ALARM"      // too many rotated files wait
	DiscardData         Type = "DISCARD_DATA_ALARM"  // logs were given up
	DropData            Type = "DROP_DATA_ALARM"
	ProcessQueueBusy    Type = "PROCESS_QUEUE_BUSY_ALARM"
	LogGroupWaitTooLong Type = "LOG_GROUP_WAIT_TOO_LONG_ALARM"
	SendingCostsTooMuch Type = "SENDING_COSTS_TOO_MUCH_TIME_ALARM"
	SendDataFail        Type = "SEND_DATA_FAIL_ALARM"
	SendQuotaExceed     Type = "SEND_QUOTA_EXCEED_ALARM"
	CompressFail        Type = "COMPRESS_FAIL_ALARM"
	SerializeFail       Type = "SERIALIZE_FAIL_ALARM"
	SecondaryReadWrite  Type = "SECONDARY_READ_WRITE_ALARM"
	DiscardSecondary    Type = "DISCARD_SECONDARY_ALARM"
	ExactlyOnce         Type = "EXACTLY_ONCE_ALARM" // ranges were refused: foreign, fenced or a hole
)

// The agent's own process.
const (
	LogtailCrash  Type = "LOGTAIL_CRASH_ALARM"
	HoldOnTooSlow Type = "HOLD_ON_TOO_SLOW_ALARM"
)
