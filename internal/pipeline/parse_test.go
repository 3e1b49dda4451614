package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const minimal = `inputs:
  - Type: input_file
    FilePaths: [/var/log/app/*.log]
flushers:
  - Type: flusher_stdout
`

func mustParse(t *testing.T, name, text string) *Pipeline {
	t.Helper()
	p, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return p
}

func TestParseAppliesDefaults(t *testing.T) {
	got := mustParse(t, "/etc/logtail/nginx.access.yaml", minimal)
	want := &Pipeline{
		Name:   "nginx.access",
		Enable: true,
		Global: Global{TopicType: "none", Priority: 1},
		Inputs: []Input{{Type: "input_file", File: &InputFile{
			FilePaths:    []string{"/var/log/app/*.log"},
			FileEncoding: "utf8", TailSizeKB: 1024, FlushTimeoutSecs: 60, CloseUnusedReaderInterval: 60,
			Multiline: Multiline{Mode: "custom", UnmatchedContentTreatment: "single_line"},
		}}},
		Flushers: []Flusher{{
			Type: "flusher_stdout", Name: "flusher_stdout#1", Stdout: &FlusherStdout{},
			Batch: Batch{MinCnt: 4096, MinSizeBytes: 524288, TimeoutSecs: 3},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseTellsZeroFromAbsent(t *testing.T) {
	p := mustParse(t, "a.yaml", `
global: {Priority: 0}
inputs:
  - Type: input_file
    FilePaths: [/a/b.log]
    FlushTimeoutSecs: 0
    TailSizeKB: 0
processors:
  - Type: processor_parse_delimiter_native
    Separator: ","
    Keys: [a]
    AllowingShortenedFields: false
  - {Type: processor_parse_delimiter_native, Separator: '\t', Keys: [_, a, _]}
  - {Type: processor_parse_timestamp_native, SourceKey: t, SourceFormat: "%s", DiscardOlderSecs: 0, SourceYear: 0}
  - {Type: processor_parse_timestamp_native, SourceKey: t, SourceFormat: "%s"}
  - {Type: processor_parse_json_native, SourceKey: msg}
  - {Type: processor_parse_json_native, RenamedSourceKey: raw_log}
flushers:
  - {Type: flusher_sls, Endpoint: 'localhost:7480', Project: prj, Logstore: ls, MaxSendRate: -1}
`)
	f := p.Inputs[0].File
	if p.Global.Priority != 0 || f.FlushTimeoutSecs != 0 || f.TailSizeKB != 0 {
		t.Errorf("written zeros were replaced: %+v %+v", p.Global, f)
	}
	if p.Processors[0].Delimiter.AllowingShortenedFields || !p.Processors[1].Delimiter.AllowingShortenedFields {
		t.Error("AllowingShortenedFields: want false when written, true by default")
	}
	if got := p.Processors[1].Delimiter.Separator; got != "\t" {
		t.Errorf(`Separator \t is %q, want a tab`, got)
	}
	written, absent := p.Processors[2].Timestamp, p.Processors[3].Timestamp
	if written.DiscardOlderSecs != 0 || written.SourceYear != 0 || absent.DiscardOlderSecs != 43200 || absent.SourceYear != -1 {
		t.Errorf("timestamps: %+v, %+v", written, absent)
	}
	if o := p.Processors[4].JSON; o.SourceKey != "msg" || o.RenamedSourceKey != "msg" {
		t.Errorf("RenamedSourceKey must default to SourceKey: %+v", o)
	}
	if o := p.Processors[5].JSON; o.SourceKey != "content" || o.RenamedSourceKey != "raw_log" {
		t.Errorf("options: %+v", o)
	}
	if s := p.Flushers[0].SLS; s.MaxSendRate != 0 || s.CompressType != "lz4" {
		t.Errorf("flusher_sls: %+v", s)
	}
}

func TestParseReadsTheSamePipelineFromJSON(t *testing.T) {
	inYAML := mustParse(t, "p.yaml", Example("regex"))
	inJSON := mustParse(t, "p.json", `{
	"enable": true, "createTime": 1700000000,
	"inputs": [{"Type": "input_file", "FilePaths": ["/var/log/nginx/access.log"], "EnableContainerDiscovery": false, "ContainerFilters": {}, "EnableExactlyOnce": 0}],
	"processors": [
		{"Type": "processor_parse_regex_native",
		 "Regex": "(\\S+) - (\\S+) \\[([^\\]]+)\\] \"(\\S+) (\\S+) ([^\"]*)\" (\\d+) (\\d+) \"([^\"]*)\" \"([^\"]*)\".*",
		 "Keys": ["remote_addr","remote_user","time","method","uri","protocol","status","bytes","referer","user_agent"],
		 "KeepingSourceWhenParseFail": true, "RenamedSourceKey": "raw_log"},
		{"Type": "processor_parse_timestamp_native", "SourceKey": "time", "SourceFormat": "%d/%b/%Y:%H:%M:%S"}],
	"flushers": [{"Type": "flusher_sls", "Endpoint": "http://127.0.0.1:7480", "Project": "default", "Logstore": "default", "TelemetryType": "logs"}]
}`)
	if !reflect.DeepEqual(inYAML, inJSON) {
		t.Errorf("YAML: %+v\nJSON: %+v", inYAML, inJSON)
	}
}

func TestParseFollowsAnchorsAndMergeKeys(t *testing.T) {
	p := mustParse(t, "p.yaml", `
inputs: [{Type: input_file, FilePaths: [/a/b.log]}]
flushers:
  - &base
    Type: flusher_sls
    Endpoint: a:1
    Project: &name prj
    Logstore: one
  - <<: *base
    Logstore: two
    Region: *name
`)
	second := p.Flushers[1].SLS
	if second.Endpoint != "a:1" || second.Logstore != "two" || second.Project != "prj" || second.Region != "prj" {
		t.Errorf("second flusher: %+v", second)
	}
	if p.Flushers[0].Name != "flusher_sls#1" || p.Flushers[1].Name != "flusher_sls#2" {
		t.Errorf("names: %q, %q", p.Flushers[0].Name, p.Flushers[1].Name)
	}
}

func TestFlusherNamesDoNotDependOnOtherTypes(t *testing.T) {
	p := New("p").Add(&FlusherStdout{}).Add(NewFlusherSLS("a:1", "prj", "ls")).Add(NewFlusherSLS("a:1", "prj", "two"))
	p.Flushers[2].Name = "mine"
	p.NameFlushers()
	var names []string
	for _, f := range p.Flushers {
		names = append(names, f.Name)
	}
	if got, want := fmt.Sprint(names), "[flusher_stdout#1 flusher_sls#1 mine]"; got != want {
		t.Errorf("names %s, want %s", got, want)
	}
}

func TestOnetimeInputReadsWholeFiles(t *testing.T) {
	f := mustParse(t, "p.yaml", Example("onetime")).Inputs[0].File
	if !f.Once || !f.TailingAllMatchedFiles || f.TailSizeKB != maxTailSizeKB || f.FlushTimeoutSecs != 0 {
		t.Errorf("onetime input: %+v", f)
	}
}

func TestEveryExampleParses(t *testing.T) {
	if len(ExampleModes()) == 0 || Example("no such mode") != "" {
		t.Fatal("the list of examples is wrong")
	}
	for _, mode := range ExampleModes() {
		t.Run(mode, func(t *testing.T) {
			p := mustParse(t, mode+".yaml", Example(mode))
			if p.Name != mode {
				t.Errorf("name %q", p.Name)
			}
		})
	}
}

func TestPipelinesBuiltInCodeAreValid(t *testing.T) {
	p := New("p").
		Add(NewInputFile("/var/log/*.log")).
		Add(NewParseRegex(`(\d+) (.*)`, "n", "rest")).Add(NewParseJSON()).Add(NewParseDelimiter(",", "a", "b")).
		Add(NewParseTimestamp("time", "%Y")).Add(&FilterRegex{Include: map[string]string{"a": "b"}}).
		Add(NewFlusherSLS("127.0.0.1:1", "prj", "ls")).Add(NewFlusherFile("/tmp/x")).Add(&FlusherStdout{}).Add(NewFlusherBlackhole())
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	p.Flushers[0].SLS = nil
	var list Errors
	if err := p.Validate(); !errors.As(err, &list) || list[0].Field != "flushers[0]" || !strings.Contains(err.Error(), "flusher_sls") {
		t.Errorf("a flusher without settings: %v", err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadDirKeepsTheGoodFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yml", minimal)
	write(t, dir, "a.yaml", minimal)
	write(t, dir, "c.json", `{"inputs":[{"Type":"input_file","FilePaths":["/a/b"]}],"flushers":[{"Type":"flusher_stdout"}]}`)
	write(t, dir, "off.yaml", "enable: false\n"+minimal)
	write(t, dir, "broken.yaml", "inputs: [")
	write(t, dir, "wrong.yaml", strings.Replace(minimal, "FilePaths", "FilePath", 1))
	write(t, dir, "a.json", `{"inputs":[{"Type":"input_file","FilePaths":["/a/b"]}],"flushers":[{"Type":"flusher_stdout"}]}`)
	write(t, dir, ".hidden.yaml", "broken: [")
	write(t, dir, "README.md", "not a pipeline")
	if err := os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	pipelines, errs := LoadDir(dir)
	var names []string
	for _, p := range pipelines {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "a b c" {
		t.Errorf("loaded %q, want a b c", got)
	}
	if len(errs) != 3 {
		t.Fatalf("%d errors, want 3: %v", len(errs), errs)
	}
	for i, want := range []string{"a.yaml: names the pipeline \"a\"", "broken.yaml:", "wrong.yaml:3:5: inputs[0].FilePath"} {
		if !strings.Contains(errs[i].Error(), filepath.Join(dir, want)) {
			t.Errorf("error %d is %q, want %q in it", i, errs[i], want)
		}
	}
}

func TestLoadDirNamesTheMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	pipelines, errs := LoadDir(dir)
	if len(pipelines) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), dir) {
		t.Errorf("pipelines %v, errors %v", pipelines, errs)
	}
}

func TestParseFileNamesTheMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	_, err := ParseFile(path)
	if err == nil || !strings.HasPrefix(err.Error(), path+": cannot be opened: ") {
		t.Errorf("error %v", err)
	}
}

// TestReferenceNamesEveryField keeps docs/reference/configuration.md complete.
func TestReferenceNamesEveryField(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := f.Name
			if tag := f.Tag.Get("json"); tag != "" {
				name = tag
			}
			if name != "-" && !f.Anonymous && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s.%s is not in the reference", typ.Name(), name)
			}
			if f.Type.Kind() == reflect.Struct {
				check(f.Type)
			}
		}
	}
	for _, settings := range []any{
		Global{},
		InputFile{},
		ParseRegex{},
		ParseJSON{},
		ParseDelimiter{},
		ParseTimestamp{},
		FilterRegex{},
		FlusherSLS{},
		FlusherFile{},
		FlusherStdout{},
		FlusherBlackhole{},
		Batch{},
	} {
		check(reflect.TypeOf(settings))
	}
	for _, name := range append(append(append([]string{"enable", "global", "inputs", "processors", "flushers"}, inputTypes...), processorTypes...), flusherTypes...) {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("%s is not in the reference", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, mode := range ExampleModes() {
		f.Add(Example(mode), false)
	}
	f.Add(`{"inputs":[{"Type":"input_file","FilePaths":["/a/b"]}],"flushers":[{"Type":"flusher_stdout"}]}`, true)
	f.Add("a: &a [*a]\n<<: *a", false)
	f.Fuzz(func(t *testing.T, text string, asJSON bool) {
		name := "p.yaml"
		if asJSON {
			name = "p.json"
		}
		p, err := Parse(name, []byte(text))
		var list Errors
		switch {
		case err == nil:
			if err := p.Validate(); err != nil {
				t.Fatalf("Parse returned an invalid pipeline: %v", err)
			}
		case p != nil || !errors.As(err, &list) || len(list) == 0:
			t.Fatalf("Parse returned %v, %v", p, err)
		}
	})
}
