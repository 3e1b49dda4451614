package monitor

import (
	"runtime"
	"strings"
	"testing"
)

func skipOnWindows(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("paths in this table are those of Unix")
	}
}

func TestWrongSpecsAreRefusedWithTheFieldAndTheRemedy(t *testing.T) {
	skipOnWindows(t)
	ok := []string{"/a/*.log"}
	for name, c := range map[string]struct {
		spec Spec
		want []string // parts of the error
	}{
		"no path":             {Spec{}, []string{"FilePaths", "empty"}},
		"empty path":          {Spec{Paths: []string{""}}, []string{"FilePaths", "empty path"}},
		"relative":            {Spec{Paths: []string{"a/b.log"}}, []string{"FilePaths", `"a/b.log"`, "absolute"}},
		"directory":           {Spec{Paths: []string{"/a/"}}, []string{`"/a/"`, "file name"}},
		"root only":           {Spec{Paths: []string{"/"}}, []string{"file name"}},
		"** as the name":      {Spec{Paths: []string{"/a/**"}}, []string{`"/a/**"`, "/a/**/*"}},
		"** twice":            {Spec{Paths: []string{"/a/**/**/x"}}, []string{"once"}},
		"** in the middle":    {Spec{Paths: []string{"/a/**/b/x"}}, []string{"last directory"}},
		"** within a name":    {Spec{Paths: []string{"/a/b**/x"}}, []string{"stand alone"}},
		"dot dot":             {Spec{Paths: []string{"/a/../x"}}, []string{`".."`}},
		"dot":                 {Spec{Paths: []string{"/a/./x"}}, []string{`"."`}},
		"NUL":                 {Spec{Paths: []string{"/a/\x00x"}}, []string{"NUL"}},
		"root":                {Spec{Paths: []string{"/*.log"}}, []string{"root", "AllowingCollectingFilesInRootDir"}},
		"root with **":        {Spec{Paths: []string{"/**/*.log"}}, []string{"root", "AllowingCollectingFilesInRootDir"}},
		"depth below 0":       {Spec{Paths: ok, MaxDepth: -1}, []string{"MaxDirSearchDepth", "-1", "1000"}},
		"depth above 1000":    {Spec{Paths: ok, MaxDepth: 1001}, []string{"MaxDirSearchDepth", "1001", "1000"}},
		"relative dir":        {Spec{Paths: ok, ExcludeDirs: []string{"tmp"}}, []string{"ExcludeDirs", `"tmp"`, "absolute"}},
		"empty dir":           {Spec{Paths: ok, ExcludeDirs: []string{""}}, []string{"ExcludeDirs", "empty"}},
		"root dir":            {Spec{Paths: ok, ExcludeDirs: []string{"/"}}, []string{"ExcludeDirs", "everything"}},
		"relative file path":  {Spec{Paths: ok, ExcludeFilePaths: []string{"x.log"}}, []string{"ExcludeFilePaths", "absolute"}},
		"file with directory": {Spec{Paths: ok, ExcludeFiles: []string{"/a/x.log"}}, []string{"ExcludeFiles", "ExcludeFilePaths"}},
		"empty file":          {Spec{Paths: ok, ExcludeFiles: []string{""}}, []string{"ExcludeFiles"}},
	} {
		m, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = m.Watch("w", c.spec)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q lacks %q", name, err, part)
			}
		}
	}
}

func TestMatchSaysWhy(t *testing.T) {
	skipOnWindows(t)
	one := func(paths ...string) Spec { return Spec{Paths: paths} }
	deep := func(depth int) Spec { return Spec{Paths: []string{"/var/log/**/*.log"}, MaxDepth: depth} }
	for name, c := range map[string]struct {
		spec Spec
		path string
		ok   bool
		why  string // part of the sentence
	}{
		"exact":                      {one("/a/b.log"), "/a/b.log", true, `"/a/b.log"`},
		"other name":                 {one("/a/b.log"), "/a/c.log", false, `file name "c.log" does not match "b.log"`},
		"other directory":            {one("/a/x/b.log"), "/a/y/b.log", false, `directory "y" does not match "x"`},
		"wildcard directory":         {one("/a/n*x/b.log"), "/a/nginx/b.log", true, ""},
		"star is one level":          {one("/a/*/b.log"), "/a/x/y/b.log", false, "lies 1 level below"},
		"star is a level":            {one("/a/*/b.log"), "/a/b.log", false, "1 directory, the pattern through 2"},
		"depth 0, same directory":    {deep(0), "/var/log/a.log", true, ""},
		"depth 0, one below":         {deep(0), "/var/log/x/a.log", false, "MaxDirSearchDepth is 0"},
		"depth 2, two below":         {deep(2), "/var/log/x/y/a.log", true, ""},
		"depth 2, three below":       {deep(2), "/var/log/x/y/z/a.log", false, "lies 3 levels below"},
		"depth 2, wrong name":        {deep(2), "/var/log/x/a.txt", false, `"a.txt" does not match "*.log"`},
		"wildcard then **":           {Spec{Paths: []string{"/a/*/**/x"}, MaxDepth: 1}, "/a/b/c/x", true, ""},
		"wildcard is above **":       {Spec{Paths: []string{"/a/*/**/x"}, MaxDepth: 1}, "/a/x", false, "goes through 1 directory"},
		"second pattern":             {one("/a/*.log", "/b/*.log"), "/b/x.log", true, `"/b/*.log"`},
		"the furthest speaks":        {one("/a/*.log", "/b/*.log"), "/b/x.txt", false, `"/b/*.log"`},
		"root allowed":               {Spec{Paths: []string{"/*.log"}, AllowRoot: true}, "/x.log", true, ""},
		"root not allowed":           {Spec{Paths: []string{"/*.log"}}, "/x.log", false, "the configuration is wrong"},
		"relative":                   {one("/a/b.log"), "b.log", false, "absolute"},
		"a directory":                {one("/a/b.log"), "/a/", false, "is a directory"},
		"excluded name":              {Spec{Paths: []string{"/a/*"}, ExcludeFiles: []string{"*.gz"}}, "/a/x.gz", false, `ExcludeFiles "*.gz"`},
		"excluded path":              {Spec{Paths: []string{"/a/*"}, ExcludeFilePaths: []string{"/a/x*"}}, "/a/xy", false, `ExcludeFilePaths "/a/x*"`},
		"excluded path, one level":   {Spec{Paths: []string{"/a/*/x"}, ExcludeFilePaths: []string{"/*/x"}}, "/a/b/x", true, ""},
		"excluded path with **":      {Spec{Paths: []string{"/a/*/x"}, ExcludeFilePaths: []string{"/**/x"}}, "/a/b/x", false, `"/**/x"`},
		"excluded path ends in **":   {Spec{Paths: []string{"/a/*/x"}, ExcludeFilePaths: []string{"/a/**"}}, "/a/b/x", false, `"/a/**"`},
		"excluded dir":               {Spec{Paths: []string{"/a/*"}, ExcludeDirs: []string{"/a"}}, "/a/x", false, `directory "/a" is left out by ExcludeDirs "/a"`},
		"excluded parent":            {Spec{Paths: []string{"/a/b/c/*"}, ExcludeDirs: []string{"/a/b"}}, "/a/b/c/x", false, `directory "/a/b"`},
		"a prefix is no parent":      {Spec{Paths: []string{"/a/bc/*"}, ExcludeDirs: []string{"/a/b"}}, "/a/bc/x", true, ""},
		"excluded dir with a slash":  {Spec{Paths: []string{"/a/*"}, ExcludeDirs: []string{"/a/"}}, "/a/x", false, `"/a"`},
		"excluded dir, one level":    {Spec{Paths: []string{"/a/**/x"}, MaxDepth: 9, ExcludeDirs: []string{"/a/*/dir"}}, "/a/b/c/dir/x", true, ""},
		"excluded dir by *":          {Spec{Paths: []string{"/a/**/x"}, MaxDepth: 9, ExcludeDirs: []string{"/a/*/dir"}}, "/a/b/dir/c/x", false, `"/a/b/dir"`},
		"excluded dir by **":         {Spec{Paths: []string{"/a/**/x"}, MaxDepth: 9, ExcludeDirs: []string{"/a/**/dir"}}, "/a/b/c/dir/x", false, `"/a/b/c/dir"`},
		"what is below, not itself":  {Spec{Paths: []string{"/a/**/x"}, MaxDepth: 9, ExcludeDirs: []string{"/a/app*/**"}}, "/a/app1/x", true, ""},
		"what is below":              {Spec{Paths: []string{"/a/**/x"}, MaxDepth: 9, ExcludeDirs: []string{"/a/app*/**"}}, "/a/app1/b/x", false, `"/a/app1/b"`},
		"not UTF-8":                  {one("/a/*.log"), "/a/\xff\xfe.log", true, ""},
		"brackets are not wildcards": {one("/a/[ab].log"), "/a/a.log", false, `"[ab].log"`},
	} {
		ok, why := Match(c.spec, c.path)
		if ok != c.ok || !strings.Contains(why, c.why) {
			t.Errorf("%s: Match(%+v, %q) = %v, %q; want %v and %q", name, c.spec, c.path, ok, why, c.ok, c.why)
		}
	}
}

func FuzzMatchNeverPanics(f *testing.F) {
	f.Add("/a/**/*.log", "/a/b", "/a/*.gz", "*.zip", "/a/x/y.log", 3)
	f.Fuzz(func(t *testing.T, path, dir, file, name, subject string, depth int) {
		ok, why := Match(Spec{Paths: []string{path}, ExcludeDirs: []string{dir}, ExcludeFilePaths: []string{file}, ExcludeFiles: []string{name}, MaxDepth: depth}, subject)
		if why == "" {
			t.Errorf("no reason for %v", ok)
		}
	})
}
