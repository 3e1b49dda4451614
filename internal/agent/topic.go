package agent

import (
	"fmt"
	"regexp"
	"strconv"

	"logtail/internal/agent/alarm"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

// topics finds the topic of a file, and the tags that its path gives, by the
// rules of TopicType.
type topics struct {
	kind, format string
	path         *regexp.Regexp
}

func newTopics(g *pipeline.Global) (topics, error) {
	t := topics{kind: g.TopicType, format: g.TopicFormat}
	if t.kind != "filepath" {
		return t, nil
	}
	var err error
	if t.path, err = regexp.Compile(`\A(?:` + g.TopicFormat + `)\z`); err != nil {
		return t, fmt.Errorf("TopicFormat %q is not a regular expression: %w", g.TopicFormat, err)
	}
	return t, nil
}

// of returns the topic of the file at path and appends tags to b. One unnamed
// group of the expression is the topic; several become the tags __topic_1__,
// __topic_2__ and so on, and named groups the tags of their names, both
// without a topic. ok is false if the expression does not match the path.
func (t *topics) of(path string, b []byte) (topic string, tagged []byte, ok bool) {
	switch t.kind {
	case "custom":
		return t.format, b, true
	case "default":
		return path, b, true
	case "filepath":
	default: // none, or machine_group_topic of an agent that is in no group
		return "", b, true
	}
	m := t.path.FindStringSubmatch(path)
	if m == nil {
		return "", b, false
	}
	names := t.path.SubexpNames()
	named := false
	for _, n := range names {
		named = named || n != ""
	}
	if !named && len(m) == 2 {
		return m[1], b, true
	}
	for i := 1; i < len(m); i++ {
		switch {
		case names[i] != "":
			b = sls.AppendTag(b, names[i], m[i])
		case !named:
			b = sls.AppendTag(b, fmt.Sprintf("__topic_%d__", i), m[i])
		}
	}
	return "", b, true
}

// appendTrailer appends what every log group of the stream carries: topic, source, tags.
// Of most streams nothing is sent for hours, so that it is made for each group.
func (s *stream) appendTrailer(b []byte) []byte {
	r, path := s.run, s.origin()
	topic, tags, ok := r.topics.of(path, nil)
	if !ok && s.lastSeal == 0 { // once for each file
		s.a.alarms.Raise(alarm.CategoryConfig, r.scope, 1,
			fmt.Sprintf("TopicFormat %q does not match the path %s; its logs have no topic. The expression must match the whole path", r.p.Global.TopicFormat, path), nil)
	}
	b = sls.AppendTopic(b, topic)
	b = sls.AppendSource(b, r.host.ip)
	b = sls.AppendTag(b, "__hostname__", r.host.name)
	b = sls.AppendTag(b, "__path__", path)
	if r.input.AppendingLogPositionMeta {
		b = sls.AppendTag(b, "__inode__", strconv.FormatUint(s.rec.Inode, 10))
	}
	return append(b, tags...)
}
