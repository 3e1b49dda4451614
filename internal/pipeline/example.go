package pipeline

import "strings"

const (
	exampleInput = `inputs:
  - Type: input_file
    FilePaths:
      - /var/log/app/*.log
`
	exampleSLS = `flushers:
  - Type: flusher_sls
    Endpoint: http://127.0.0.1:7480
    Project: default
    Logstore: default
`
)

// examples are complete pipelines, in the order in which they are shown.
var examples = []struct{ mode, about, text string }{
	{"single", "each line is a log", exampleInput + exampleSLS},
	{"multiline", "a log begins with a line that starts with a date (Java and the like)", exampleInput + `    Multiline:
      StartPattern: '\d{4}-\d{2}-\d{2} .*'
` + exampleSLS},
	{"regex", "nginx access logs, combined format, with the log's own time", strings.Replace(exampleInput, "/var/log/app/*.log", "/var/log/nginx/access.log", 1) + `processors:
  - Type: processor_parse_regex_native
    Regex: '(\S+) - (\S+) \[([^\]]+)\] "(\S+) (\S+) ([^"]*)" (\d+) (\d+) "([^"]*)" "([^"]*)".*'
    Keys: [remote_addr, remote_user, time, method, uri, protocol, status, bytes, referer, user_agent]
    KeepingSourceWhenParseFail: true
    RenamedSourceKey: raw_log
  - Type: processor_parse_timestamp_native
    SourceKey: time
    SourceFormat: '%d/%b/%Y:%H:%M:%S'
` + exampleSLS},
	{"json", "each line is a JSON object", exampleInput + `processors:
  - Type: processor_parse_json_native
    KeepingSourceWhenParseFail: true
    RenamedSourceKey: raw_log
  - Type: processor_parse_timestamp_native
    SourceKey: time
    SourceFormat: '%Y-%m-%dT%H:%M:%S'
    SourceTimezone: GMT+00:00
` + exampleSLS},
	{"delimiter", "columns with a separator, as in CSV", exampleInput + `processors:
  - Type: processor_parse_delimiter_native
    Separator: ','
    Quote: '"'
    Keys: [time, user, method, path, status]
    KeepingSourceWhenParseFail: true
    RenamedSourceKey: raw_log
` + exampleSLS},
	{"filter", "only the logs of a JSON file whose fields match", exampleInput + `processors:
  - Type: processor_parse_json_native
  - Type: processor_filter_regex_native
    Include:
      level: 'WARN|ERROR'
      service: 'order-.*'
` + exampleSLS},
	{"onetime", "history: every file once, to its present end, then stop (for logtail run)", `inputs:
  - Type: input_static_file_onetime
    FilePaths:
      - /var/log/app/**/*.log
    MaxDirSearchDepth: 3
` + exampleSLS},
	{"stdout", "a dry run: print the logs as JSON lines", exampleInput + `flushers:
  - Type: flusher_stdout
`},
	{"several", "two destinations, and directories below", `global:
  TopicType: filepath
  TopicFormat: '/var/log/([^/]+)/.*'
inputs:
  - Type: input_file
    FilePaths:
      - /var/log/**/*.log
    MaxDirSearchDepth: 2
    ExcludeFiles: ['*.gz', debug-*.log]
` + exampleSLS + `  - Type: flusher_file
    FilePath: /var/tmp/logs.jsonl
`},
}

// ExampleModes are the names that Example knows.
func ExampleModes() []string {
	modes := make([]string, len(examples))
	for i, e := range examples {
		modes[i] = e.mode
	}
	return modes
}

// Example is a complete pipeline of the given mode as YAML, with a first line
// that says what it does; "" if there is no such mode.
func Example(mode string) string {
	for _, e := range examples {
		if e.mode == mode {
			return "# " + e.mode + ": " + e.about + "\n" + e.text
		}
	}
	return ""
}
