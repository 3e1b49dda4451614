package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// failure is the error of a command that was understood and did not succeed.
// Every other error of the command tree is wrong usage: unknown flags and
// commands, bad values, missing arguments.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usagef is wrong usage that only the command itself can see.
func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// errSilent ends a command when everything was said already.
var errSilent = errors.New("failed")

func newRoot(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:           "logtail",
		Short:         "Collects the logs of servers, keeps them and finds them again",
		Long:          "logtail is an agent that collects logs and a Log Service that keeps and finds them.\n\n  logtail up             collect this machine's own logs and make them searchable\n  logtail query 'error'  find them",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().String("log-level", "", "what the program says about itself on standard error: debug, info, warn or error")
	root.AddCommand(newUp(), newServer(), newAgent(), newRun(), newQuery(), newTail(), newStatus(), newCheckpoint(), newConfig(), newVersion())
	prepare(root)
	return root
}

// prepare gives every command of the tree the same manners.
func prepare(c *cobra.Command) {
	if work := c.RunE; work != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			err := work(cmd, args)
			var usage usageError
			if err == nil || errors.As(err, &usage) {
				return err
			}
			return failure{err}
		}
	} else if c.HasSubCommands() {
		// A group without a known subcommand shows what there is, and fails: a
		// script that lost its arguments must not go on.
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q%s", args[0], suggestion(cmd, args[0]))
			}
			cmd.SetOut(cmd.ErrOrStderr())
			_ = cmd.Help()
			return usageError{errSilent}
		}
	}
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

func suggestion(c *cobra.Command, name string) string {
	c.SuggestionsMinimumDistance = 2
	var names []string
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return "; the commands are: " + strings.Join(names, ", ")
}

// explain is the exit code and what is said of an error.
func explain(cmd *cobra.Command, err error) (code int, lines []string) {
	var f failure
	if !errors.As(err, &f) {
		if errors.Is(err, errSilent) {
			return exitUsage, nil
		}
		return exitUsage, []string{fmt.Sprintf("%s; see %s --help", oneLine(err.Error()), cmd.CommandPath())}
	}
	if errors.Is(err, errSilent) {
		return exitFailed, nil
	}
	// A wrong configuration has a line per mistake; nothing else has several.
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = oneLine(line); line != "" {
			lines = append(lines, line)
		}
	}
	return exitFailed, lines
}

// newLogger is the program's own log on standard error. The level is that of
// --log-level, else usual.
func newLogger(cmd *cobra.Command, usual slog.Level) (*slog.Logger, error) {
	level := usual
	if s, _ := cmd.Flags().GetString("log-level"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil || strings.ContainsAny(s, "+-") {
			return nil, usagef("--log-level %q is not a level; allowed: debug, info, warn, error", s)
		}
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// noArgs refuses arguments with a hint for the usual reason: a pattern that the
// shell has expanded.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if cmd.Flags().Lookup("path") != nil && strings.ContainsAny(args[0], `/\`) {
		hint = "; put a pattern in quotes, so that the shell does not expand it"
	}
	return fmt.Errorf("unexpected argument %q%s", args[0], hint)
}
