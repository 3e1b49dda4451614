package agent

import (
	"fmt"
	"slices"
	"testing"

	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

func TestTopicOfAPath(t *testing.T) {
	const path = "/srv/shop/node7/app.log"
	for _, c := range []struct {
		name, kind, format string
		topic              string
		tags               []string
		ok                 bool
	}{
		{"none", "none", "", "", nil, true},
		{"empty", "", "", "", nil, true},
		{"path", "default", "", path, nil, true},
		{"custom", "custom", "web", "web", nil, true},
		{"machine group", "machine_group_topic", "", "", nil, true},
		{"one group", "filepath", `/srv/([^/]+)/.*`, "shop", nil, true},
		{"two groups", "filepath", `/srv/([^/]+)/([^/]+)/.*`, "", []string{"__topic_1__=shop", "__topic_2__=node7"}, true},
		{"named group", "filepath", `/srv/(?P<service>[^/]+)/.*`, "", []string{"service=shop"}, true},
		{"named and unnamed", "filepath", `/srv/(?P<service>[^/]+)/(.*)/app.log`, "", []string{"service=shop"}, true},
		{"not the whole path", "filepath", `/srv/([^/]+)`, "", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := newTopics(&pipeline.Global{TopicType: c.kind, TopicFormat: c.format})
			if err != nil {
				t.Fatal(err)
			}
			topic, encoded, ok := x.of(path, nil)
			var g sls.LogGroup
			if err := g.Decode(encoded, sls.DefaultLimits); err != nil {
				t.Fatal(err)
			}
			var tags []string
			for _, tag := range g.Tags {
				tags = append(tags, fmt.Sprintf("%s=%s", tag.Key, tag.Value))
			}
			if topic != c.topic || !slices.Equal(tags, c.tags) || ok != c.ok {
				t.Errorf("got topic %q, tags %q, %v", topic, tags, ok)
			}
		})
	}
}
