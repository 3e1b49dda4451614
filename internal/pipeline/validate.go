package pipeline

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of the numbers. The documents' where they name one, else what can be
// meant.
const (
	maxInputs      = 1
	maxFlushers    = 5         // targets of one pipeline in SLS
	maxFilePaths   = 10        // LoongCollector: max_file_paths_per_input_config
	maxSearchDepth = 1000      // Logtail's documents
	maxTailSizeKB  = 104857600 // 100 GiB, LoongCollector's code (its documents: 10 GiB)
	maxTimeoutSecs = 86400
	maxBatchCnt    = 40960
	// maxBatchBytes keeps a group below SLS' 10 MB with room for the estimate's
	// error, as LoongCollector does (10 MiB / 1.2).
	maxBatchBytes       = (10 << 20) * 10 / 12
	maxBatchTimeoutSecs = 3600
	maxOlderSecs        = 366 * 86400
	minMaxFileSize      = 64 << 10 // smaller files would rotate at every group
	maxMaxFiles         = 10000
	maxSendRate         = 1 << 40
)

var (
	topicTypes    = []string{"none", "filepath", "machine_group_topic", "custom", "default"}
	compressTypes = []string{"lz4", "zstd", "none"}
	unmatched     = []string{"single_line", "discard"}
	overflowed    = []string{"extend", "keep", "discard"}

	// Names of projects and logstores as SLS documents them.
	projectName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	logstoreName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,61}[a-z0-9]$`)
	timezone     = regexp.MustCompile(`^GMT[+-](0\d|1[0-4]):[0-5]\d$`)
)

// Validate checks what Parse checks, for a pipeline that was built in code. The
// error is an Errors whose fields are paths such as flushers[0].Endpoint.
func (p *Pipeline) Validate() error { return p.validate().asError() }

func (p *Pipeline) validate() Errors {
	var c checker
	if p.Name == "" {
		c.fail("", "", "the pipeline has no name; name it, or its file")
	}
	c.global("global", &p.Global)
	c.inputs(p.Inputs)
	for i := range p.Processors {
		c.processor(fmt.Sprintf("processors[%d]", i), &p.Processors[i])
	}
	c.flushers(p.Flushers)
	return c.errs
}

type checker struct{ errs Errors }

func (c *checker) fail(path, value, format string, a ...any) {
	c.errs = append(c.errs, &Error{Field: path, Value: value, Message: fmt.Sprintf(format, a...)})
}

func (c *checker) enum(path, value string, allowed []string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := ""
	if near := nearest(value, allowed); near != "" {
		hint = fmt.Sprintf("did you mean %s? ", near)
	}
	c.fail(path, showText(value), "is not one of the allowed values; %sallowed: %s", hint, oneOf(allowed))
}

func (c *checker) between(path string, value, low, high int64) {
	if value < low || value > high {
		c.fail(path, strconv.FormatInt(value, 10), "is out of range; allowed: %d to %d", low, high)
	}
}

func (c *checker) required(path, value, example string) bool {
	if value == "" {
		c.fail(path, "", "is missing; write for example %s", example)
	}
	return value != ""
}

func (c *checker) regex(path, pattern string) *regexp.Regexp {
	re, err := regexp.Compile(pattern)
	if err != nil {
		c.fail(path, showText(pattern), "is not a regular expression that can be used (%s); look-around and back-references do not exist here (syntax: RE2)",
			strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	return re
}

func (c *checker) global(path string, g *Global) {
	c.enum(path+".TopicType", g.TopicType, topicTypes)
	c.between(path+".Priority", int64(g.Priority), 0, 2)
	switch format := path + ".TopicFormat"; g.TopicType {
	case "filepath":
		if c.required(format, g.TopicFormat, `"/var/log/([^/]+)/.*" (a regular expression for the whole path; its group is the topic)`) {
			if re := c.regex(format, g.TopicFormat); re != nil && re.NumSubexp() == 0 {
				c.fail(format, showText(g.TopicFormat), "has no group; put the part of the path that is the topic in brackets")
			}
		}
	case "custom":
		c.required(format, g.TopicFormat, `"my-topic"`)
	default:
		if g.TopicFormat != "" {
			c.fail(format, showText(g.TopicFormat), "has no use with TopicType %s; remove it, or set TopicType to filepath or custom", g.TopicType)
		}
	}
}

func (c *checker) inputs(inputs []Input) {
	switch n := len(inputs); {
	case n == 0:
		c.fail("inputs", "", "is missing; a pipeline needs one input, for example {Type: input_file, FilePaths: [/var/log/app/*.log]}")
	case n > maxInputs:
		c.fail("inputs", "", "has %d inputs; only one per pipeline is supported so far: write one file per input", n)
	}
	for i, in := range inputs {
		path := fmt.Sprintf("inputs[%d]", i)
		once := in.Type == TypeInputFileOnce
		switch {
		case !slices.Contains(inputTypes, in.Type):
			c.fail(path+".Type", showType(in.Type), "%s", unknownType("input", in.Type, inputTypes, laterInputs))
		case in.File == nil || in.File.Once != once:
			c.fail(path, "", "has no settings for %s", in.Type)
		default:
			c.inputFile(path, in.File)
		}
	}
}

func showType(name string) string {
	if name == "" {
		return ""
	}
	return showText(name)
}

func (c *checker) inputFile(path string, f *InputFile) {
	switch n := len(f.FilePaths); {
	case n == 0:
		c.fail(path+".FilePaths", "", "is missing; write for example [/var/log/app/*.log]")
	case n > maxFilePaths:
		c.fail(path+".FilePaths", "", "has %d paths; at most %d are allowed: use * or **, or several pipelines", n, maxFilePaths)
	}
	for i, p := range f.FilePaths {
		at := fmt.Sprintf("%s.FilePaths[%d]", path, i)
		if problem := checkFilePath(p, f.AllowingCollectingFilesInRootDir); problem != "" {
			c.fail(at, showText(p), "%s", problem)
		} else if slices.Contains(f.FilePaths[:i], p) {
			c.fail(at, showText(p), "is listed twice; remove one")
		}
	}
	c.excludes(path, f)
	if f.FileEncoding != "utf8" {
		remedy := "allowed: utf8"
		if strings.EqualFold(f.FileEncoding, "gbk") {
			remedy = "gbk is not supported yet; " + remedy
		}
		c.fail(path+".FileEncoding", showText(f.FileEncoding), "%s", remedy)
	}
	c.between(path+".MaxDirSearchDepth", int64(f.MaxDirSearchDepth), 0, maxSearchDepth)
	c.between(path+".MaxCheckpointDirSearchDepth", int64(f.MaxCheckpointDirSearchDepth), 0, maxSearchDepth)
	c.between(path+".EnableExactlyOnce", int64(f.EnableExactlyOnce), 0, 512)
	c.between(path+".TailSizeKB", f.TailSizeKB, 0, maxTailSizeKB)
	c.between(path+".FlushTimeoutSecs", int64(f.FlushTimeoutSecs), 0, maxTimeoutSecs)
	c.between(path+".CloseUnusedReaderIntervalSec", int64(f.CloseUnusedReaderInterval), 1, maxTimeoutSecs)
	c.multiline(path+".Multiline", &f.Multiline)
}

// checkFilePath says what is wrong with an entry of FilePaths, or "".
func checkFilePath(p string, rootAllowed bool) string {
	if strings.ContainsRune(p, 0) {
		return "contains a NUL character; no file name can"
	}
	if !filepath.IsAbs(p) {
		return "is not an absolute path; write it from the root, for example /var/log/app/*.log"
	}
	parts := strings.Split(filepath.ToSlash(p[len(filepath.VolumeName(p)):]), "/")[1:]
	name, dirs := parts[len(parts)-1], parts[:len(parts)-1]
	switch {
	case name == "":
		return "names a directory; add a file name, for example " + p + "*.log"
	case strings.Contains(name, "**"):
		return "has ** in the file name; use * there, and ** only as the last directory, for example /var/log/**/*.log"
	case slices.Contains(parts, "..") || slices.Contains(parts, "."):
		return "has . or .. in it; write the path out"
	case slices.Contains(dirs, ""):
		return "has // in it; write a single /"
	}
	for i, d := range dirs {
		if strings.Contains(d, "**") && (d != "**" || i != len(dirs)-1) {
			return "has ** in the wrong place: it may stand once, as the whole last directory, for example /var/log/**/*.log"
		}
	}
	if !rootAllowed && (len(dirs) == 0 || dirs[0] == "**") {
		return "collects from the root directory; name a directory, or set AllowingCollectingFilesInRootDir: true"
	}
	return ""
}

func (c *checker) excludes(path string, f *InputFile) {
	for i, p := range f.ExcludeFilePaths {
		if problem := checkExclude(p, "write it from the root, or use ExcludeFiles for a name in any directory"); problem != "" {
			c.fail(fmt.Sprintf("%s.ExcludeFilePaths[%d]", path, i), showText(p), "%s", problem)
		}
	}
	for i, p := range f.ExcludeDirs {
		if problem := checkExclude(p, "write it from the root, for example /var/log/journal"); problem != "" {
			c.fail(fmt.Sprintf("%s.ExcludeDirs[%d]", path, i), showText(p), "%s", problem)
		}
	}
	for i, p := range f.ExcludeFiles {
		at := fmt.Sprintf("%s.ExcludeFiles[%d]", path, i)
		if p == "" || p == "." || p == ".." || strings.ContainsAny(p, "/\x00"+string(filepath.Separator)) {
			c.fail(at, showText(p), "is not a file name; write a name such as *.gz here, and paths in ExcludeFilePaths")
		}
	}
}

// checkExclude says what is wrong with a path pattern of the exclusions, or "".
func checkExclude(p, remedy string) string {
	switch {
	case strings.ContainsRune(p, 0):
		return "contains a NUL character; no file name can"
	case !filepath.IsAbs(p):
		return "is not an absolute path; " + remedy
	}
	parts := strings.FieldsFunc(filepath.ToSlash(p[len(filepath.VolumeName(p)):]), func(r rune) bool { return r == '/' })
	if len(parts) == 0 {
		return "would leave out everything; name a path below the root"
	}
	for _, part := range parts {
		if part == "." || part == ".." {
			return "has . or .. in it; write the path out"
		}
		if part != "**" && strings.Contains(part, "**") {
			return "has ** within a name; use * there, and ** alone between two /"
		}
	}
	return ""
}

func (c *checker) multiline(path string, m *Multiline) {
	switch m.Mode {
	case "custom":
	case "JSON", "whole_file":
		c.fail(path+".Mode", showText(m.Mode), "is a mode of LoongCollector that is not supported yet; allowed: custom")
	default:
		c.enum(path+".Mode", m.Mode, []string{"custom"})
	}
	c.enum(path+".UnmatchedContentTreatment", m.UnmatchedContentTreatment, unmatched)
	for _, p := range []struct{ name, pattern string }{
		{"StartPattern", m.StartPattern}, {"ContinuePattern", m.ContinuePattern}, {"EndPattern", m.EndPattern},
	} {
		if p.pattern != "" {
			c.regex(path+"."+p.name, p.pattern)
		}
	}
	if m.ContinuePattern == "" {
		return
	}
	switch {
	case m.StartPattern == "" && m.EndPattern == "":
		c.fail(path+".ContinuePattern", showText(m.ContinuePattern), "needs StartPattern or EndPattern beside it")
	case m.StartPattern != "" && m.EndPattern != "":
		c.fail(path+".ContinuePattern", showText(m.ContinuePattern), "has no use beside both StartPattern and EndPattern; remove one of the three")
	}
}

func (c *checker) processor(path string, p *Processor) {
	settings := 0
	for _, set := range []bool{p.Regex != nil, p.JSON != nil, p.Delimiter != nil, p.Timestamp != nil, p.Filter != nil} {
		if set {
			settings++
		}
	}
	switch {
	case !slices.Contains(processorTypes, p.Type):
		c.fail(path+".Type", showType(p.Type), "%s", unknownType("processor", p.Type, processorTypes, laterProcessors))
	case settings > 1:
		c.fail(path, "", "has settings of %d processors; write one list element per processor", settings)
	case p.Type == TypeParseRegex && p.Regex != nil:
		c.parseRegex(path, p.Regex)
	case p.Type == TypeParseJSON && p.JSON != nil:
		c.parseOptions(path, &p.JSON.ParseOptions)
	case p.Type == TypeParseDelimiter && p.Delimiter != nil:
		c.parseDelimiter(path, p.Delimiter)
	case p.Type == TypeParseTimestamp && p.Timestamp != nil:
		c.parseTimestamp(path, p.Timestamp)
	case p.Type == TypeFilterRegex && p.Filter != nil:
		c.filter(path, p.Filter)
	default:
		c.fail(path, "", "has no settings for %s", p.Type)
	}
}

func (c *checker) parseOptions(path string, o *ParseOptions) {
	if c.required(path+".SourceKey", o.SourceKey, `"content"`) {
		c.required(path+".RenamedSourceKey", o.RenamedSourceKey, `"raw_log"`)
	}
}

func (c *checker) parseRegex(path string, p *ParseRegex) {
	c.parseOptions(path, &p.ParseOptions)
	c.keys(path+".Keys", p.Keys, `["ip", "time", "request"]`, "")
	if !c.required(path+".Regex", p.Regex, `'(\S+) (.*)'`) {
		return
	}
	if re := c.regex(path+".Regex", p.Regex); re != nil && re.NumSubexp() < len(p.Keys) {
		c.fail(path+".Regex", showText(p.Regex), "has %d groups for %d keys; add groups, write (?:...) only for groups that have no key, or remove keys", re.NumSubexp(), len(p.Keys))
	}
}

// keys checks names of fields to make; drop is a name that may repeat.
func (c *checker) keys(path string, keys []string, example, drop string) {
	if len(keys) == 0 {
		c.fail(path, "", "is missing; write for example %s", example)
	}
	seen := make(map[string]bool, len(keys))
	for i, k := range keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		if k == "" {
			c.fail(at, `""`, "is empty; a field needs a name")
		} else if seen[k] && k != drop {
			c.fail(at, showText(k), "is listed twice; a log can have a field only once")
		}
		seen[k] = true
	}
}

func (c *checker) parseDelimiter(path string, p *ParseDelimiter) {
	c.parseOptions(path, &p.ParseOptions)
	c.keys(path+".Keys", p.Keys, `["time", "user", "status"]`, "_")
	c.enum(path+".OverflowedFieldsTreatment", p.OverflowedFieldsTreatment, overflowed)
	if c.required(path+".Separator", p.Separator, `","`) {
		switch n := utf8.RuneCountInString(p.Separator); {
		case n > 4:
			c.fail(path+".Separator", showText(p.Separator), "has %d characters; at most 4 are allowed", n)
		case strings.ContainsAny(p.Separator, "\r\n"):
			c.fail(path+".Separator", showText(p.Separator), "contains a line break, which ends a record; choose another separator")
		case p.Separator == p.Quote:
			c.fail(path+".Separator", showText(p.Separator), "is the quote character too; set Quote to another character")
		}
	}
	if len(p.Quote) != 1 {
		c.fail(path+".Quote", showText(p.Quote), `must be one ASCII character; the default is '"'`)
	}
}

func (c *checker) parseTimestamp(path string, p *ParseTimestamp) {
	c.required(path+".SourceKey", p.SourceKey, `"time"`)
	if c.required(path+".SourceFormat", p.SourceFormat, `"%Y-%m-%d %H:%M:%S"`) {
		if problem := checkTimeFormat(p.SourceFormat); problem != "" {
			c.fail(path+".SourceFormat", showText(p.SourceFormat), "%s", problem)
		}
	}
	if p.SourceTimezone != "" && !timezone.MatchString(p.SourceTimezone) {
		c.fail(path+".SourceTimezone", showText(p.SourceTimezone), "is not a time zone; write GMT+HH:MM or GMT-HH:MM, for example GMT+08:00")
	}
	c.between(path+".SourceYear", int64(p.SourceYear), -1, 9999)
	c.between(path+".DiscardOlderSecs", int64(p.DiscardOlderSecs), 0, maxOlderSecs)
}

// timeDirectives are the letters that may follow % in SourceFormat: those of
// Logtail's documents, and %T, %D, %F, %G, %g, %k, %l, %P, %z, %Z and %% of strptime(3).
const timeDirectives = "aAbBcCdDeFfgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%"

func checkTimeFormat(format string) string {
	found := false
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i+1 < len(format) && (format[i] == 'E' || format[i] == 'O') {
			i++ // strptime's other forms of a directive
		}
		if i == len(format) {
			return "ends with a single %; write %% for the character itself"
		}
		if strings.IndexByte(timeDirectives, format[i]) < 0 {
			return fmt.Sprintf("has the unknown directive %%%s; allowed are %% and one of %s", string([]rune(format[i:])[:1]), timeDirectives)
		}
		found = found || format[i] != '%' && format[i] != 'n' && format[i] != 't'
	}
	if !found {
		return `has no directive such as %Y or %s, so it names no time; write for example "%Y-%m-%d %H:%M:%S"`
	}
	return ""
}

func (c *checker) filter(path string, f *FilterRegex) {
	switch {
	case len(f.Include) > 0 && len(f.FilterKey)+len(f.FilterRegex) > 0:
		c.fail(path+".Include", "", "stands beside FilterKey and FilterRegex; write the conditions in one of the two ways")
	case len(f.FilterKey) != len(f.FilterRegex):
		c.fail(path+".FilterRegex", "", "has %d expressions for the %d names of FilterKey; write one expression per name", len(f.FilterRegex), len(f.FilterKey))
	case len(f.FilterKey)+len(f.Include) == 0:
		c.fail(path, "", "has no condition, and so would filter nothing; write FilterKey and FilterRegex, or Include")
	}
	c.keysOfFilter(path, f)
	for i, r := range f.FilterRegex {
		c.regex(fmt.Sprintf("%s.FilterRegex[%d]", path, i), r)
	}
	names := make([]string, 0, len(f.Include))
	for name := range f.Include {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c.regex(path+".Include."+name, f.Include[name])
	}
}

func (c *checker) keysOfFilter(path string, f *FilterRegex) {
	for i, k := range f.FilterKey {
		if k == "" {
			c.fail(fmt.Sprintf("%s.FilterKey[%d]", path, i), `""`, "is empty; write the name of a field")
		}
	}
	if _, ok := f.Include[""]; ok {
		c.fail(path+".Include", "", "has an empty field name; write the name of a field")
	}
}

func (c *checker) flushers(flushers []Flusher) {
	switch n := len(flushers); {
	case n == 0:
		c.fail("flushers", "", "is missing; a pipeline needs a destination, for example {Type: flusher_stdout}")
	case n > maxFlushers:
		c.fail("flushers", "", "has %d destinations; at most %d are allowed: use several pipelines", n, maxFlushers)
	}
	owner := map[string]int{}
	for i := range flushers {
		f := &flushers[i]
		path := fmt.Sprintf("flushers[%d]", i)
		c.flusher(path, f)
		if first, taken := owner[f.Name]; taken && f.Name != "" {
			c.fail(path+".Name", showText(f.Name), "is the name of flushers[%d] too; delivery is counted per name, so each needs its own", first)
		} else {
			owner[f.Name] = i
		}
	}
}

func (c *checker) flusher(path string, f *Flusher) {
	settings := 0
	for _, set := range []bool{f.SLS != nil, f.File != nil, f.Stdout != nil, f.Blackhole != nil} {
		if set {
			settings++
		}
	}
	switch {
	case !slices.Contains(flusherTypes, f.Type):
		c.fail(path+".Type", showType(f.Type), "%s", unknownType("flusher", f.Type, flusherTypes, laterFlushers))
		return
	case settings > 1:
		c.fail(path, "", "has settings of %d flushers; write one list element per flusher", settings)
	case f.Type == TypeFlusherSLS && f.SLS != nil:
		c.flusherSLS(path, f.SLS)
	case f.Type == TypeFlusherFile && f.File != nil:
		if c.required(path+".FilePath", f.File.FilePath, "/var/tmp/out.jsonl") && !filepath.IsAbs(f.File.FilePath) {
			c.fail(path+".FilePath", showText(f.File.FilePath), "is not an absolute path; write it from the root, for example /var/tmp/out.jsonl")
		}
		c.between(path+".MaxFileSize", f.File.MaxFileSize, minMaxFileSize, maxSendRate)
		c.between(path+".MaxFiles", int64(f.File.MaxFiles), 1, maxMaxFiles)
	case f.Type == TypeFlusherStdout && f.Stdout != nil:
	case f.Type == TypeFlusherBlackhole && f.Blackhole != nil:
		c.enum(path+".CompressType", f.Blackhole.CompressType, compressTypes)
	default:
		c.fail(path, "", "has no settings for %s", f.Type)
	}
	if f.Name == "" {
		c.fail(path+".Name", "", "is empty; remove the field for the default name")
	}
	c.between(path+".Batch.MinCnt", int64(f.Batch.MinCnt), 1, maxBatchCnt)
	c.between(path+".Batch.MinSizeBytes", int64(f.Batch.MinSizeBytes), 1, maxBatchBytes)
	c.between(path+".Batch.TimeoutSecs", int64(f.Batch.TimeoutSecs), 1, maxBatchTimeoutSecs)
}

func (c *checker) flusherSLS(path string, s *FlusherSLS) {
	if c.required(path+".Project", s.Project, `"my-project"`) && !projectName.MatchString(s.Project) {
		c.fail(path+".Project", showText(s.Project), "is not a project name: 3 to 63 lower-case letters, digits and -, with a letter or digit at both ends")
	}
	if c.required(path+".Logstore", s.Logstore, `"my-logstore"`) && !logstoreName.MatchString(s.Logstore) {
		c.fail(path+".Logstore", showText(s.Logstore), "is not a logstore name: 2 to 63 lower-case letters, digits, - and _, with a letter or digit at both ends")
	}
	if s.Endpoint != "" { // the agent may have been told where its service is
		if problem := checkEndpoint(s.Endpoint); problem != "" {
			c.fail(path+".Endpoint", showText(s.Endpoint), "%s", problem)
		}
	}
	c.enum(path+".CompressType", s.CompressType, compressTypes)
	c.between(path+".MaxSendRate", s.MaxSendRate, 0, maxSendRate)
}

// checkEndpoint says what is wrong with a host, host:port or URL, or "".
func checkEndpoint(endpoint string) string {
	text := endpoint
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, " \t"):
		return "is not an address; write a host, host:port or a URL such as https://logs.example.com:7480"
	case u.Scheme != "http" && u.Scheme != "https":
		return "has the scheme " + u.Scheme + "; allowed: http, https"
	case u.User != nil:
		return "contains a user name; keys belong in the credentials file"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "has something behind the host; write only scheme, host and port"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "has the port " + port + "; allowed: 1 to 65535"
		}
	}
	return ""
}

// Timeout is the batch's TimeoutSecs as a duration.
func (b Batch) Timeout() time.Duration { return time.Duration(b.TimeoutSecs) * time.Second }
