package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"logtail/internal/pipeline"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check pipelines and show examples"}
	c.AddCommand(newConfigValidate(), newConfigExample())
	return c
}

// validation is what config validate -o json says of one file.
type validation struct {
	File     string            `json:"file"`
	Pipeline string            `json:"pipeline,omitempty"`
	Valid    bool              `json:"valid"`
	Errors   []validationError `json:"errors,omitempty"`
}

type validationError struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
}

func newConfigValidate() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "validate FILE|DIR...",
		Short: "Check pipeline files without running them",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no file is given; name pipeline files or directories of them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var results []validation
			for _, arg := range args {
				results = append(results, validate(arg)...)
			}
			bad := false
			out := cmd.OutOrStdout()
			for _, r := range results {
				bad = bad || !r.Valid
			}
			if output.format == "json" {
				e := json.NewEncoder(out)
				e.SetEscapeHTML(false)
				if err := e.Encode(results); err != nil {
					return err
				}
			} else {
				for _, r := range results {
					if r.Valid {
						fmt.Fprintf(out, "%s: ok (pipeline %s)\n", r.File, r.Pipeline)
					}
				}
			}
			if !bad {
				return nil
			}
			if output.format == "json" {
				return errSilent
			}
			var lines []string
			for _, r := range results {
				for _, e := range r.Errors {
					one := pipeline.Error{File: r.File, Line: e.Line, Column: e.Column, Field: e.Field, Value: e.Value, Message: e.Message}
					lines = append(lines, one.Error())
				}
			}
			return errors.New(strings.Join(lines, "\n"))
		},
	}
	output.add(c, "text", "json")
	return c
}

// validate checks a file, or the pipelines of a directory.
func validate(path string) []validation {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		p, err := pipeline.ParseFile(path)
		if err != nil {
			return []validation{invalid(err)}
		}
		return []validation{{File: path, Pipeline: p.Name, Valid: true}}
	}
	files, err := pipeline.Files(path)
	if err != nil {
		return []validation{invalid(err)}
	}
	var results []validation
	for _, f := range files {
		results = append(results, validate(f)...)
	}
	// What only the directory as a whole shows: names that occur twice.
	_, errs := pipeline.LoadDir(path)
	for _, err := range errs {
		if v := invalid(err); !hasFile(results, v.File) {
			results = append(results, v)
		}
	}
	if len(results) == 0 {
		results = append(results, validation{File: path, Errors: []validationError{{Message: "no pipeline is in this directory; add a *.yaml, *.yml or *.json file"}}})
	}
	return results
}

func hasFile(results []validation, file string) bool {
	for i := range results {
		if results[i].File == file && !results[i].Valid {
			return true
		}
	}
	return false
}

func invalid(err error) validation {
	var list pipeline.Errors
	if !errors.As(err, &list) {
		return validation{Errors: []validationError{{Message: err.Error()}}}
	}
	v := validation{File: list[0].File}
	for _, e := range list {
		v.Errors = append(v.Errors, validationError{e.Line, e.Column, e.Field, e.Value, e.Message})
	}
	return v
}

func newConfigExample() *cobra.Command {
	modes := pipeline.ExampleModes()
	return &cobra.Command{
		Use:       "example [MODE]",
		Short:     "Print an example pipeline, or all of them: " + strings.Join(modes, ", "),
		ValidArgs: modes,
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = modes
			}
			for i, mode := range args {
				text := pipeline.Example(mode)
				if text == "" {
					return usagef("there is no example %q; the examples are: %s", mode, strings.Join(modes, ", "))
				}
				if i > 0 {
					text = "---\n" + text
				}
				if _, err := fmt.Fprint(cmd.OutOrStdout(), text); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
