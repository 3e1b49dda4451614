package state

import (
	"slices"
	"testing"
	"time"

	"logtail/internal/delivery"
)

func TestStreamsAreForgottenThirtyDaysAfterTheirLastChange(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name   string
		st     Stream
		needed bool
		want   bool
	}{
		{"changed yesterday", Stream{Seen: ago(24 * time.Hour).Unix()}, false, false},
		{"changed 30 days ago", Stream{Seen: ago(Lifetime).Unix()}, false, false},
		{"changed more than 30 days ago", Stream{Seen: ago(Lifetime + time.Second).Unix()}, false, true},
		{"the same, but needed", Stream{Seen: ago(Lifetime + time.Second).Unix()}, true, false},
		{"an old file that was found yesterday", Stream{Seen: ago(2 * Lifetime).Unix(), Born: ago(24 * time.Hour).UnixNano()}, false, false},
		{"an idle file with a young time", Stream{Seen: ago(2 * Lifetime).Unix(), Mtime: ago(time.Hour).UnixNano()}, false, false},
		{"all times are old", Stream{Seen: ago(2 * Lifetime).Unix(), Mtime: ago(2 * Lifetime).UnixNano(), Born: ago(2 * Lifetime).UnixNano()}, false, true},
		{"a change in the future", Stream{Seen: ago(-time.Hour).Unix()}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.st.ID = delivery.NewStreamID()
			asked := false
			got := Expired([]Stream{c.st}, now, func(s *Stream) bool { asked = true; return c.needed && s.ID == c.st.ID })
			if slices.Contains(got, c.st.ID) != c.want {
				t.Errorf("expired: %v, want %v", got, c.want)
			}
			if asked != (c.want || c.needed) {
				t.Error("the costly question is asked of old streams, and of no others")
			}
		})
	}
}
