package pipeline

import (
	"errors"
	"strings"
	"testing"
)

// in builds a pipeline text with one part replaced.
func withInput(s string) string {
	return "inputs:\n  - Type: input_file\n" + indent(s) + "flushers:\n  - Type: flusher_stdout\n"
}

func withProcessor(s string) string {
	return "inputs:\n  - {Type: input_file, FilePaths: [/a/b.log]}\nprocessors:\n  - " + strings.TrimLeft(indent(s), " ") + "flushers:\n  - Type: flusher_stdout\n"
}

func withFlusher(s string) string {
	return "inputs:\n  - {Type: input_file, FilePaths: [/a/b.log]}\nflushers:\n  - " + strings.TrimLeft(indent(s), " ")
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") + "\n"
}

const sls = "Type: flusher_sls\nProject: my-prj\nLogstore: my-ls\nEndpoint: localhost:7480\n"

// Each error names its place, the field, the value and the remedy. (want lists
// texts that must occur in the first error.)
func TestErrorsNamePlaceFieldValueAndRemedy(t *testing.T) {
	paths := "FilePaths: [/a/b.log]\n"
	regex := "Type: processor_parse_regex_native\n"
	delim := "Type: processor_parse_delimiter_native\nKeys: [a]\n"
	stamp := "Type: processor_parse_timestamp_native\nSourceKey: t\n"
	filter := "Type: processor_filter_regex_native\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":            {"", []string{"p.yaml: the file is empty; a pipeline needs inputs and flushers"}},
		"only a comment":   {"# nothing\n", []string{"the file is empty"}},
		"no object":        {"just text\n", []string{"p.yaml:1:1", "must be an object with fields, not text"}},
		"syntax":           {"inputs: [\n", []string{"p.yaml:1:", "not valid YAML"}},
		"two documents":    {minimal + "---\n" + minimal, []string{"second YAML document", "one pipeline per file"}},
		"duplicate field":  {minimal + "inputs: []\n", []string{"p.yaml:6:1", "not valid YAML", "inputs"}},
		"tag":              {"enable: !!bool true\n" + minimal, []string{"p.yaml:1:", "tag !!bool", "remove it"}},
		"unknown alias":    {"enable: *x\n" + minimal, []string{"p.yaml:1:", "alias *x", "no anchor &x"}},
		"self alias":       {"inputs: &x [*x]\n", []string{"alias *x", "no anchor"}},
		"unknown top":      {minimal + "flusher: 1\n", []string{"p.yaml:6:1: flusher = 1", "unknown field; did you mean flushers?", "allowed here:", "inputs"}},
		"no inputs":        {"flushers:\n  - Type: flusher_stdout\n", []string{"inputs: is missing", "input_file"}},
		"empty inputs":     {"inputs: []\nflushers:\n  - Type: flusher_stdout\n", []string{"p.yaml:1:", "inputs", "is missing"}},
		"null inputs":      {"inputs:\nflushers:\n  - Type: flusher_stdout\n", []string{"inputs: is missing"}},
		"two inputs":       {"inputs:\n  - {Type: input_file, FilePaths: [/a/b]}\n  - {Type: input_file, FilePaths: [/a/c]}\nflushers:\n  - Type: flusher_stdout\n", []string{"inputs", "2 inputs; only one", "one file per input"}},
		"no flushers":      {"inputs:\n  - {Type: input_file, FilePaths: [/a/b]}\n", []string{"flushers: is missing", "flusher_stdout"}},
		"six flushers":     {withFlusher("Type: flusher_stdout\n") + strings.Repeat("  - Type: flusher_stdout\n", 5), []string{"flushers", "has 6 destinations; at most 5"}},
		"same name":        {withFlusher("Type: flusher_stdout\nName: x\n") + "  - {Type: flusher_blackhole, Name: x}\n", []string{`flushers[1].Name = "x"`, "flushers[0] too"}},
		"aggregators":      {minimal + "aggregators:\n  - Type: aggregator_base\n", []string{"p.yaml:7:3: aggregators", "not supported yet; remove it"}},
		"wrong kind":       {"enable: yes please\n" + minimal, []string{`p.yaml:1:9: enable = "yes please"`, "must be true or false, not text"}},
		"list of nothing":  {"inputs:\n  -\nflushers:\n  - Type: flusher_stdout\n", []string{"inputs[0]", "must be an object"}},
		"topic type":       {"global: {TopicType: filepaht}\n" + minimal, []string{`p.yaml:1:`, `global.TopicType = "filepaht"`, "did you mean filepath?", "allowed: none, filepath"}},
		"topic format":     {"global: {TopicType: custom}\n" + minimal, []string{"p.yaml:1:", "global.TopicFormat: is missing"}},
		"topic regex":      {"global: {TopicType: filepath, TopicFormat: '('}\n" + minimal, []string{`global.TopicFormat = "("`, "missing closing )"}},
		"topic groups":     {"global: {TopicType: filepath, TopicFormat: '/a/.*'}\n" + minimal, []string{"has no group", "brackets"}},
		"topic unused":     {"global: {TopicFormat: x}\n" + minimal, []string{"has no use with TopicType none", "set TopicType"}},
		"priority":         {"global: {Priority: 3}\n" + minimal, []string{"global.Priority = 3", "allowed: 0 to 2"}},
		"no type":          {"inputs:\n  - FilePaths: [/a/b]\nflushers:\n  - Type: flusher_stdout\n", []string{"p.yaml:2:5: inputs[0].Type", "Type is missing; the input types are: input_file"}},
		"mistyped type":    {strings.Replace(minimal, "input_file", "file_input", 1), []string{`inputs[0].Type = "file_input"`, "unknown input type; the input types are: input_file, input_static_file_onetime"}},
		"near type":        {strings.Replace(minimal, "input_file", "input_files", 1), []string{`inputs[0].Type = "input_files"`, "did you mean input_file?"}},
		"later input":      {strings.Replace(minimal, "input_file", "input_container_stdio", 1), []string{`= "input_container_stdio"`, "plug-in of LoongCollector that is not supported yet", "input_file"}},
		"later flusher":    {strings.Replace(minimal, "flusher_stdout", "flusher_kafka_v2", 1), []string{`p.yaml:5:11: flushers[0].Type = "flusher_kafka_v2"`, "not supported yet", "flusher_sls"}},
		"no paths":         {withInput("MaxDirSearchDepth: 1"), []string{"p.yaml:2:5: inputs[0].FilePaths: is missing", "/var/log/app/*.log"}},
		"paths as text":    {withInput("FilePaths: /a/b.log"), []string{`p.yaml:3:16: inputs[0].FilePaths = "/a/b.log"`, `must be a list, not text; write it as ["..."]`}},
		"paths of numbers": {withInput("FilePaths: [7]"), []string{"inputs[0].FilePaths[0] = 7", "must be text, not a whole number; write it in quotes"}},
		"relative path":    {withInput("FilePaths: [/a/b.log, logs/x.log]"), []string{`p.yaml:3:27: inputs[0].FilePaths[1] = "logs/x.log"`, "not an absolute path; write it from the root"}},
		"directory":        {withInput("FilePaths: [/var/log/]"), []string{"names a directory; add a file name, for example /var/log/*.log"}},
		"double star":      {withInput("FilePaths: [/a/**/b/*.log]"), []string{"** in the wrong place"}},
		"double star name": {withInput("FilePaths: [/a/**.log]"), []string{"** in the file name"}},
		"root":             {withInput("FilePaths: [/*.log]"), []string{"AllowingCollectingFilesInRootDir: true"}},
		"twice":            {withInput("FilePaths: [/a/b, /a/b]"), []string{"FilePaths[1]", "listed twice; remove one"}},
		"eleven paths":     {withInput("FilePaths: [/a/1, /a/2, /a/3, /a/4, /a/5, /a/6, /a/7, /a/8, /a/9, /a/10, /a/11]"), []string{"has 11 paths; at most 10"}},
		"unknown field":    {withInput(paths + "TailSizeKb: 5"), []string{"p.yaml:4:5: inputs[0].TailSizeKb = 5", "unknown field; did you mean TailSizeKB?"}},
		"quoted number":    {withInput(paths + "TailSizeKB: \"5\""), []string{`inputs[0].TailSizeKB = "5"`, "must be a whole number, not text; write it without quotes"}},
		"fraction":         {withInput(paths + "TailSizeKB: 1.5"), []string{"inputs[0].TailSizeKB = 1.5", "must be a whole number, not a fractional number"}},
		"huge number":      {withInput(paths + "TailSizeKB: 99999999999999999999"), []string{`inputs[0].TailSizeKB = "99999999999999999999"`, "must be a whole number"}},
		"tail size":        {withInput(paths + "TailSizeKB: -1"), []string{"inputs[0].TailSizeKB = -1", "allowed: 0 to 104857600"}},
		"depth":            {withInput(paths + "MaxDirSearchDepth: 1001"), []string{"MaxDirSearchDepth = 1001", "allowed: 0 to 1000"}},
		"checkpoint depth": {withInput(paths + "MaxCheckpointDirSearchDepth: -1"), []string{"MaxCheckpointDirSearchDepth = -1", "allowed: 0 to 1000"}},
		"flush timeout":    {withInput(paths + "FlushTimeoutSecs: -1"), []string{"FlushTimeoutSecs = -1", "allowed: 0 to 86400"}},
		"close interval":   {withInput(paths + "CloseUnusedReaderIntervalSec: 0"), []string{"CloseUnusedReaderIntervalSec = 0", "allowed: 1 to 86400"}},
		"gbk":              {withInput(paths + "FileEncoding: gbk"), []string{`FileEncoding = "gbk"`, "gbk is not supported yet; allowed: utf8"}},
		"exclude path":     {withInput(paths + "ExcludeFilePaths: [x.gz]"), []string{`ExcludeFilePaths[0] = "x.gz"`, "use ExcludeFiles"}},
		"exclude dir":      {withInput(paths + "ExcludeDirs: [b]"), []string{`ExcludeDirs[0] = "b"`, "not an absolute path"}},
		"exclude root":     {withInput(paths + "ExcludeDirs: [/]"), []string{`ExcludeDirs[0] = "/"`, "leave out everything"}},
		"exclude dots":     {withInput(paths + "ExcludeDirs: [/a/../b]"), []string{"write the path out"}},
		"exclude stars":    {withInput(paths + "ExcludeFilePaths: [/a/b**/c]"), []string{"** within a name"}},
		"exclude file":     {withInput(paths + "ExcludeFiles: [/a/b]"), []string{`ExcludeFiles[0] = "/a/b"`, "ExcludeFilePaths"}},
		"later field":      {withInput(paths + "EnableContainerDiscovery: true"), []string{"p.yaml:4:31: inputs[0].EnableContainerDiscovery = true", "not supported yet; remove it or set it to false"}},
		"later object":     {withInput(paths + "ContainerFilters: {K8sPodRegex: x}"), []string{"inputs[0].ContainerFilters", "not supported yet; remove it"}},
		"multiline mode":   {withInput(paths + "Multiline: {Mode: JSON}"), []string{`Multiline.Mode = "JSON"`, "not supported yet; allowed: custom"}},
		"multiline regex":  {withInput(paths + "Multiline: {StartPattern: '(?=x)'}"), []string{`Multiline.StartPattern = "(?=x)"`, "look-around"}},
		"continue alone":   {withInput(paths + "Multiline: {ContinuePattern: x}"), []string{"ContinuePattern", "needs StartPattern or EndPattern"}},
		"all three":        {withInput(paths + "Multiline: {StartPattern: a, ContinuePattern: b, EndPattern: c}"), []string{"remove one of the three"}},
		"unmatched":        {withInput(paths + "Multiline: {UnmatchedContentTreatment: drop}"), []string{`UnmatchedContentTreatment = "drop"`, "allowed: single_line, discard"}},
		"tail of onetime":  {"inputs:\n  - {Type: input_static_file_onetime, FilePaths: [/a/b], TailSizeKB: 5}\nflushers:\n  - Type: flusher_stdout\n", []string{"inputs[0].TailSizeKB = 5", "unknown field"}},
		"processor type":   {withProcessor("Type: processor_filter_native"), []string{`processors[0].Type = "processor_filter_native"`, "the processor types are:", "processor_filter_regex_native"}},
		"later processor":  {withProcessor("Type: processor_grok"), []string{`"processor_grok"`, "not supported yet"}},
		"no regex":         {withProcessor(regex + "Keys: [a]"), []string{"p.yaml:4:5: processors[0].Regex: is missing"}},
		"no keys":          {withProcessor(regex + "Regex: (a)"), []string{"processors[0].Keys: is missing"}},
		"few groups":       {withProcessor(regex + "Regex: '(a) b'\nKeys: [a, b]"), []string{`p.yaml:5:12: processors[0].Regex = "(a) b"`, "has 1 groups for 2 keys; add groups"}},
		"bad regex":        {withProcessor(regex + "Regex: '(a'\nKeys: [a]"), []string{`p.yaml:5:12: processors[0].Regex = "(a"`, "missing closing )", "RE2"}},
		"same key":         {withProcessor(regex + "Regex: '(a)(b)'\nKeys: [a, a]"), []string{`processors[0].Keys[1] = "a"`, "listed twice"}},
		"empty key":        {withProcessor(regex + "Regex: '(a)(b)'\nKeys: [a, '']"), []string{`processors[0].Keys[1] = ""`, "needs a name"}},
		"empty source":     {withProcessor("Type: processor_parse_json_native\nSourceKey: ''"), []string{`processors[0].SourceKey = ""`, `for example "content"`}},
		"no separator":     {withProcessor(delim), []string{"processors[0].Separator: is missing"}},
		"long separator":   {withProcessor(delim + "Separator: '12345'"), []string{`Separator = "12345"`, "has 5 characters; at most 4"}},
		"quote separator":  {withProcessor(delim + "Separator: '\"'"), []string{"is the quote character too; set Quote"}},
		"line separator":   {withProcessor(delim + "Separator: \"\\n\""), []string{"contains a line break"}},
		"long quote":       {withProcessor(delim + "Separator: ','\nQuote: '##'"), []string{`Quote = "##"`, "one ASCII character"}},
		"overflow":         {withProcessor(delim + "Separator: ','\nOverflowedFieldsTreatment: drop"), []string{`= "drop"`, "allowed: extend, keep, discard"}},
		"no format":        {withProcessor(stamp), []string{"SourceFormat: is missing", "%Y-%m-%d"}},
		"no time key":      {withProcessor("Type: processor_parse_timestamp_native\nSourceFormat: '%s'"), []string{"SourceKey: is missing"}},
		"bad directive":    {withProcessor(stamp + "SourceFormat: '%Y-%q'"), []string{`SourceFormat = "%Y-%q"`, "unknown directive %q"}},
		"lone percent":     {withProcessor(stamp + "SourceFormat: '%Y%'"), []string{"ends with a single %"}},
		"no directive":     {withProcessor(stamp + "SourceFormat: 'yyyy-MM-dd'"), []string{"names no time"}},
		"zone":             {withProcessor(stamp + "SourceFormat: '%s'\nSourceTimezone: Asia/Shanghai"), []string{`SourceTimezone = "Asia/Shanghai"`, "for example GMT+08:00"}},
		"year":             {withProcessor(stamp + "SourceFormat: '%s'\nSourceYear: -2"), []string{"SourceYear = -2", "allowed: -1 to 9999"}},
		"older":            {withProcessor(stamp + "SourceFormat: '%s'\nDiscardOlderSecs: -1"), []string{"DiscardOlderSecs = -1", "allowed: 0 to"}},
		"filter lengths":   {withProcessor(filter + "FilterKey: [a, b]\nFilterRegex: [x]"), []string{"processors[0].FilterRegex", "has 1 expressions for the 2 names of FilterKey"}},
		"filter both":      {withProcessor(filter + "FilterKey: [a]\nFilterRegex: [x]\nInclude: {a: b}"), []string{"processors[0].Include", "one of the two ways"}},
		"filter none":      {withProcessor(filter), []string{"p.yaml:4:5: processors[0]", "would filter nothing"}},
		"filter regex":     {withProcessor(filter + "FilterKey: [a, b]\nFilterRegex: [x, '*']"), []string{`FilterRegex[1] = "*"`, "missing argument to repetition operator"}},
		"filter include":   {withProcessor(filter + "Include: {a.b: '*'}"), []string{`p.yaml:5:20: processors[0].Include.a.b = "*"`}},
		"filter number":    {withProcessor(filter + "Include: {status: 500}"), []string{"Include.status = 500", "write it in quotes"}},
		"filter condition": {withProcessor(filter + "ConditionExp: {operator: and}"), []string{"ConditionExp", "not supported yet"}},
		"no project":       {withFlusher(strings.Replace(sls, "Project: my-prj\n", "", 1)), []string{"p.yaml:4:5: flushers[0].Project: is missing"}},
		"bad project":      {withFlusher(strings.Replace(sls, "my-prj", "My_Prj", 1)), []string{`flushers[0].Project = "My_Prj"`, "3 to 63 lower-case letters"}},
		"bad logstore":     {withFlusher(strings.Replace(sls, "my-ls", "-x", 1)), []string{`flushers[0].Logstore = "-x"`, "2 to 63 lower-case letters"}},
		"ftp":              {withFlusher(strings.Replace(sls, "localhost:7480", "ftp://a", 1)), []string{"has the scheme ftp; allowed: http, https"}},
		"endpoint path":    {withFlusher(strings.Replace(sls, "localhost:7480", "http://a/b", 1)), []string{"something behind the host"}},
		"endpoint port":    {withFlusher(strings.Replace(sls, "localhost:7480", "a:70000", 1)), []string{"has the port 70000; allowed: 1 to 65535"}},
		"endpoint user":    {withFlusher(strings.Replace(sls, "localhost:7480", "http://me:pw@a", 1)), []string{"contains a user name", "credentials file"}},
		"compress":         {withFlusher(sls + "CompressType: gzip"), []string{`CompressType = "gzip"`, "allowed: lz4, zstd, none"}},
		"send rate":        {withFlusher(sls + "MaxSendRate: -5"), []string{"MaxSendRate = -5", "allowed: 0 to"}},
		"telemetry":        {withFlusher(sls + "TelemetryType: metrics"), []string{`TelemetryType = "metrics"`, `set it to "logs"`}},
		"batch count":      {withFlusher(sls + "Batch: {MinCnt: 0}"), []string{"flushers[0].Batch.MinCnt = 0", "allowed: 1 to 40960"}},
		"batch size":       {withFlusher(sls + "Batch: {MinSizeBytes: 10485760}"), []string{"Batch.MinSizeBytes = 10485760", "allowed: 1 to 8738133"}},
		"batch time":       {withFlusher(sls + "Batch: {TimeoutSecs: 0}"), []string{"Batch.TimeoutSecs = 0", "allowed: 1 to 3600"}},
		"batch field":      {withFlusher(sls + "Batch: {MaxCnt: 1}"), []string{"flushers[0].Batch.MaxCnt = 1", "did you mean MinCnt?"}},
		"no file path":     {withFlusher("Type: flusher_file"), []string{"flushers[0].FilePath: is missing"}},
		"file path":        {withFlusher("Type: flusher_file\nFilePath: out.json"), []string{`FilePath = "out.json"`, "not an absolute path"}},
		"file size":        {withFlusher("Type: flusher_file\nFilePath: /a\nMaxFileSize: 1"), []string{"MaxFileSize = 1", "allowed: 65536 to"}},
		"file count":       {withFlusher("Type: flusher_file\nFilePath: /a\nMaxFiles: 0"), []string{"MaxFiles = 0", "allowed: 1 to"}},
		"blackhole":        {withFlusher("Type: flusher_blackhole\nCompressType: x"), []string{`CompressType = "x"`, "allowed: lz4"}},
		"stdout field":     {withFlusher("Type: flusher_stdout\nFilePath: /a"), []string{`flushers[0].FilePath = "/a"`, "unknown field", "allowed here: Batch, Name, Type"}},
		"not UTF-8":        {"inputs: \xff", []string{"not UTF-8 text; save it as UTF-8"}},
		"too large":        {strings.Repeat("#", maxFileBytes+1), []string{"too many for a pipeline", "split it"}},
		"deep flow":        {strings.Repeat("[", 100_000), []string{"nested more than"}},
		"deep block":       {strings.Repeat("- ", 100_000), []string{"nested more than"}},
		"deep":             {"a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), []string{"nested more than 32"}},
		"billion laughs":   {"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e]\n", []string{"more than 20000 values"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse("p.yaml", []byte(c.text))
			if err == nil {
				t.Fatalf("Parse accepted it: %+v\n%s", p, c.text)
			}
			checkFirst(t, err, c.want)
		})
	}
}

func TestErrorsInJSONNameTheirPlace(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":       {" \n", []string{"p.json: the file is empty"}},
		"syntax":      {"{\n  \"inputs\": [,]\n}", []string{"p.json:2:14", "not valid JSON"}},
		"cut":         {`{"inputs": [`, []string{"p.json:1:13", "the text ends too early"}},
		"twice":       {"{\"enable\": true,\n \"enable\": false}", []string{"p.json:2:2: enable", "written twice"}},
		"more":        {`{"inputs": []} {}`, []string{"p.json:1:16", "text after the end"}},
		"field":       {"{\"inputs\": [{\"Type\": \"input_file\",\n\t\"Ünder\": 1, \"FilePath\": [\"/a\"]}],\n\"flushers\": [{\"Type\": \"flusher_stdout\"}]}", []string{"p.json:2:2: inputs[0].Ünder = 1", "unknown field"}},
		"place":       {"{\"inputs\": [{\"Type\": \"input_file\",\n\t\"FilePaths\": [\"/a/b\", \"c\"]}],\n\"flushers\": [{\"Type\": \"flusher_stdout\"}]}", []string{`p.json:2:24: inputs[0].FilePaths[1] = "c"`, "absolute"}},
		"list at top": {"[]", []string{"p.json:1:1", "must be an object with fields, not a list"}},
		"deep":        {strings.Repeat("[", 50_000), []string{"nested more than"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.json", []byte(c.text))
			if err == nil {
				t.Fatal("Parse accepted it")
			}
			checkFirst(t, err, c.want)
		})
	}
}

func checkFirst(t *testing.T, err error, want []string) {
	t.Helper()
	var list Errors
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("the error is a %T, want an Errors", err)
	}
	first := list[0].Error()
	for _, w := range want {
		if !strings.Contains(first, w) {
			t.Errorf("the error is\n\t%s\nwant in it\n\t%s", first, w)
		}
	}
	if strings.Contains(first, "\n") {
		t.Errorf("the error is more than one line: %q", first)
	}
}

func TestAllErrorsOfAFileAreReportedInOrder(t *testing.T) {
	_, err := Parse("p.yaml", []byte(withInput("FilePaths: [x]\nTailSizeKB: -1\nWrong: 1")))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d errors, want 3:\n%v", len(lines), err)
	}
	for i, want := range []string{"p.yaml:3:", "p.yaml:4:", "p.yaml:5:"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("error %d: %s, want %s", i, lines[i], want)
		}
	}
	var one *Error
	if !errors.As(err, &one) || one.Line != 3 {
		t.Errorf("errors.As finds %+v", one)
	}
}

func TestAWrongTypeIsReportedOnce(t *testing.T) {
	_, err := Parse("p.yaml", []byte(withInput("FilePaths: /a/b.log")))
	if n := strings.Count(err.Error(), "\n") + 1; n != 1 {
		t.Errorf("%d errors for one mistake:\n%v", n, err)
	}
}

func TestLongValuesAreCutInMessages(t *testing.T) {
	_, err := Parse("p.yaml", []byte(withInput("FilePaths: ["+strings.Repeat("x", 10_000)+"]")))
	if n := len(err.Error()); n > 400 {
		t.Errorf("the message has %d bytes", n)
	}
}

func TestHostileFieldNamesStayOnOneShortLine(t *testing.T) {
	_, err := Parse("p.json", []byte(`{"a\n`+strings.Repeat("b", 10_000)+`": 1}`))
	var one *Error
	if !errors.As(err, &one) {
		t.Fatal(err)
	}
	if s := one.Error(); strings.Contains(s, "\n") || len(s) > 500 {
		t.Errorf("message of %d bytes: %.200q", len(s), s)
	}
}

func TestValuesThatLeaveLaterFieldsOffAreAccepted(t *testing.T) {
	mustParse(t, "p.yaml", withInput(`FilePaths: [/a/b.log]
EnableContainerDiscovery: false
ContainerFilters: {}
ExternalEnvTag: {}
Tags: null
FileOffsetKey: ""
PreservedDirDepth: -1
RotatorQueueSize: 20
EnableExactlyOnce: 3
Multiline: {}`))
}
