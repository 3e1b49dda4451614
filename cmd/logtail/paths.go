package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"logtail/internal/agent/monitor"
	"logtail/internal/pipeline"
)

// pathDepth is how many levels below its directory a ** of up goes.
const pathDepth = 5

// ownLogs are the patterns of a machine's own logs.
func ownLogs() []string {
	switch runtime.GOOS {
	case "windows":
		root := os.Getenv("SystemDrive") + `\`
		return []string{root + `Windows\Logs\**\*.log`, root + `inetpub\logs\LogFiles\**\*.log`, root + `ProgramData\**\*.log`}
	case "darwin":
		return []string{"/var/log/**/*.log", "/Library/Logs/**/*.log"}
	}
	// syslog and messages have no extension; *.log below is most of the rest.
	return []string{"/var/log/**/*.log", "/var/log/syslog", "/var/log/messages"}
}

// notText are files that lie between logs and are no text: compressed ones and
// login records.
var notText = []string{"*.gz", "*.xz", "*.zst", "*.bz2", "*.lz4", "*.zip", "wtmp*", "btmp*", "lastlog", "faillog", "*.journal"}

// upInputs are the inputs of up: the given patterns, at most maxPaths each.
func upInputs(patterns []string, data string) []*pipeline.InputFile {
	const maxPaths = 10 // of one input, by the rules of pipelines
	var inputs []*pipeline.InputFile
	for len(patterns) > 0 {
		n := min(len(patterns), maxPaths)
		in := pipeline.NewInputFile(patterns[:n]...)
		patterns = patterns[n:]
		in.MaxDirSearchDepth = pathDepth
		in.ExcludeFiles = notText
		// What we write ourselves must not come in again; the journal is binary.
		in.ExcludeDirs = []string{data}
		if runtime.GOOS == "linux" {
			in.ExcludeDirs = append(in.ExcludeDirs, "/var/log/journal")
		}
		// The first look must not be at an empty page because the machine is quiet.
		in.TailingAllMatchedFiles = true
		in.AllowingCollectingFilesInRootDir = true
		inputs = append(inputs, in)
	}
	return inputs
}

// absolutePatterns makes the values of --path absolute, and says what is wrong
// with those that cannot be meant.
func absolutePatterns(paths []string) ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, p := range paths {
		if p == "" {
			return nil, usagef("--path is empty; write a file or a pattern such as '/var/log/app/*.log'")
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("--path %q cannot be made absolute: %w; write it from the root", p, err)
		}
		if info, err := os.Stat(abs); err == nil && info.IsDir() {
			return nil, usagef("--path %q is a directory; write a pattern such as '%s'", p, filepath.Join(abs, "**", "*.log"))
		}
		if !seen[abs] {
			seen[abs] = true
			all = append(all, abs)
		}
	}
	return all, nil
}

// countFiles says how many files a pattern matches now, and how many of them
// cannot be read. It stops at most, as the number is only for people.
func countFiles(in *pipeline.InputFile, pattern string) (found, unreadable int) {
	const most = 10_000
	spec := monitor.Spec{
		Paths: []string{pattern}, MaxDepth: in.MaxDirSearchDepth, ExcludeFilePaths: in.ExcludeFilePaths,
		ExcludeFiles: in.ExcludeFiles, ExcludeDirs: in.ExcludeDirs, AllowRoot: in.AllowingCollectingFilesInRootDir,
	}
	base := pattern
	for strings.ContainsAny(base, "*?") {
		base = filepath.Dir(base)
	}
	levels := strings.Count(pattern[len(base):], string(filepath.Separator)) + in.MaxDirSearchDepth
	visited := 0
	_ = filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if visited++; visited > most {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // a directory that cannot be read has no files to count
		}
		if d.IsDir() {
			if path != base && strings.Count(path[len(base):], string(filepath.Separator)) >= levels {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // gone, a broken link, or no file
		}
		if ok, _ := monitor.Match(spec, path); !ok {
			return nil
		}
		found++
		if f, err := os.Open(path); err != nil {
			unreadable++
		} else {
			f.Close()
		}
		return nil
	})
	return found, unreadable
}
