package delivery

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The model test of the contract: machines write lines, read and send them;
// requests and replies are lost, delayed and repeated; agents and the server
// crash; disks fill up; machines are cloned; logstores are made again. The
// only actors are Decide, Advance, Resume and React. At the end, when the
// world is calm, every line must have been appended exactly once.

// server is the other side: durable are the log and what follows from it.
type server struct {
	incarnation int
	log         []appended
	progress    map[LaneID]Progress
	sessions    uint64
	ever        map[LaneID][]string // every line that was appended once
	full        bool
}

type appended struct {
	r     Range
	lines []string
}

func newServer() *server {
	return &server{progress: map[LaneID]Progress{}, ever: map[LaneID][]string{}}
}

// append is the server's compare and append of one range.
func (s *server) append(r Range, lines []string, ends []uint64) (Action, *Progress, bool) {
	var p *Progress
	if known, ok := s.progress[r.Lane]; ok {
		p = &known
	}
	a := Decide(p, &r)
	switch a {
	case Append, Trim:
		if s.full {
			return a, nil, false // an error: nothing appended, no progress moved
		}
		if a == Trim {
			cut := 0
			for cut < len(ends) && ends[cut] <= p.End {
				cut++
			}
			lines = lines[cut:]
		}
		s.log = append(s.log, appended{r, lines})
		s.ever[r.Lane] = append(s.ever[r.Lane], lines...)
		s.progress[r.Lane] = Advance(&r, 0)
	}
	return a, p, true
}

// crash loses what is not in the log: progress is rebuilt from the records.
func (s *server) crash() {
	s.progress = map[LaneID]Progress{}
	for i := range s.log {
		s.progress[s.log[i].r.Lane] = Advance(&s.log[i].r, 0)
	}
}

// restore goes back to an older copy of the whole log, as from a backup, and
// returns the lines of lanes that it does not know any more.
func (s *server) restore(n int) (lost []string) {
	s.log = s.log[:n:n]
	s.crash()
	for lane, lines := range s.ever {
		if _, known := s.progress[lane]; !known {
			lost = append(lost, lines...)
		}
	}
	return lost
}

// resume grants a session and makes it the owner of the lane.
func (s *server) resume(lane LaneID) (uint64, *Progress) {
	s.sessions++
	session := s.sessions
	p, ok := s.progress[lane]
	if !ok {
		return session, nil
	}
	before := p
	p.Session = max(p.Session, session)
	s.progress[lane] = p
	return session, &before
}

// machine is a host with one file and its agent.
type machine struct {
	name  string
	file  string
	lines int

	// durable
	stream     StreamID
	checkpoint Checkpoint

	saved *snapshot
	rolls int // how often the machine went back to its snapshot

	// in memory
	up      bool
	stopped bool // fenced
	session uint64
	point   Point
	claim   bool
	waiting *request // at most one in flight per lane
}

// snapshot is a copy of a machine's disk.
type snapshot struct {
	file       string
	stream     StreamID
	checkpoint Checkpoint
}

type request struct {
	r     Range
	lines []string
	ends  []uint64
	from  *machine // nil once the sender has forgotten it
}

func (m *machine) write(n int) {
	for range n {
		m.lines++
		m.file += fmt.Sprintf("%s/%d line %d %s\n", m.name, m.rolls, m.lines, strings.Repeat("x", m.lines%90))
	}
}

func (m *machine) holds(end, hash uint64) bool {
	return end <= uint64(len(m.file)) && (hash == 0 || TailHash([]byte(m.file[:end])) == hash)
}

func (m *machine) start(s *server) {
	// Always a new session: requests of the old one that are still on their
	// way must find the lane closed to them.
	session, p := s.resume(m.stream.Lane("f", ""))
	plan := Resume(m.checkpoint, p, fmt.Sprint(s.incarnation), m.holds)
	if plan.NewStream {
		m.stream = NewStreamID()
	}
	m.session, m.point, m.claim = session, plan.Point, plan.Claim
	m.checkpoint.Incarnation = fmt.Sprint(s.incarnation)
	m.checkpoint.Point, m.checkpoint.AbandonedFrom = plan.Point, plan.End
	m.up, m.stopped, m.waiting = true, false, nil
}

func (m *machine) crash() {
	m.up = false
	if m.waiting != nil {
		m.waiting.from, m.waiting = nil, nil
	}
}

// read makes a range of up to n lines from where the lane stands.
func (m *machine) read(n int, filtered bool) *request {
	q := &request{from: m}
	at := m.point.End
	for range n {
		i := strings.IndexByte(m.file[at:], '\n')
		if i < 0 {
			break
		}
		line := m.file[at : at+uint64(i)]
		at += uint64(i) + 1
		if !filtered {
			q.lines, q.ends = append(q.lines, line), append(q.ends, at)
		}
	}
	if at == m.point.End {
		return nil
	}
	q.r = Range{
		Lane: m.stream.Lane("f", ""), Session: m.session, Start: m.point.End, End: at,
		StartHash: m.point.Hash, EndHash: TailHash([]byte(m.file[:at])),
	}
	if m.claim {
		q.r.Flags |= Claim
	}
	if filtered {
		q.r.Flags |= Empty
	}
	return q
}

// answer gives the reply of the server to the agent.
func (m *machine) answer(s *server, q *request, a Action, p *Progress) {
	m.waiting = nil
	switch React(a) {
	case Accept:
		m.point = Point{End: q.r.End, Hash: q.r.EndHash}
		m.checkpoint.Point, m.claim = m.point, false
		m.checkpoint.AbandonedFrom = m.point.End
	case Rewind:
		m.point = Point{End: p.End, Hash: p.Hash, State: p.State}
		m.checkpoint.Point, m.checkpoint.AbandonedFrom = m.point, m.point.End
	case ResumeNow:
		m.start(s)
	case NewStream:
		m.stream, m.claim = NewStreamID(), m.checkpoint.End > 0
		m.point = m.checkpoint.Point
	case Stop:
		m.stopped = true
	}
}

func TestModelDeliversEveryLineOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newServer()
		machines := []*machine{{name: "m0", stream: NewStreamID()}}
		// What a restored server lost and a copied agent has taken over since is
		// gone; no rule can mend both at once.
		restores := rapid.Bool().Draw(t, "restores, not copies")
		var flying []*request // sent, not yet at the server; may be there twice or late
		var skipped []string  // lines that were read as filtered
		copied := map[string]bool{}
		pick := func(t *rapid.T) *machine { return machines[rapid.IntRange(0, len(machines)-1).Draw(t, "machine")] }
		deliver := func(q *request, lose bool) {
			a, p, ok := s.append(q.r, q.lines, q.ends)
			m := q.from
			if m == nil || m.waiting != q {
				return
			}
			if lose || !ok { // a lost reply or an error: the agent sends the same again
				m.waiting = nil
				return
			}
			m.answer(s, q, a, p)
		}
		send := func(m *machine, n int, filtered bool) {
			if !m.up || m.stopped || m.waiting != nil {
				return
			}
			if q := m.read(n, filtered); q != nil {
				if filtered {
					skipped = append(skipped, strings.Split(strings.TrimSuffix(m.file[q.r.Start:q.r.End], "\n"), "\n")...)
				}
				m.waiting = q
				flying = append(flying, q)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) { pick(t).write(rapid.IntRange(1, 9).Draw(t, "lines")) },
			"start": func(t *rapid.T) {
				if m := pick(t); !m.up {
					m.start(s)
				}
			},
			"send":     func(t *rapid.T) { send(pick(t), rapid.IntRange(1, 12).Draw(t, "lines"), false) },
			"sendAll":  func(t *rapid.T) { send(pick(t), 1<<30, false) },
			"filtered": func(t *rapid.T) { send(pick(t), rapid.IntRange(1, 4).Draw(t, "lines"), true) },
			"arrive": func(t *rapid.T) {
				if len(flying) == 0 {
					return
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "request")
				q := flying[i]
				if !rapid.Bool().Draw(t, "again later") {
					flying = append(flying[:i], flying[i+1:]...)
				}
				deliver(q, rapid.Bool().Draw(t, "reply lost"))
			},
			"requestLost": func(t *rapid.T) {
				if len(flying) == 0 {
					return
				}
				q := flying[0]
				flying = flying[1:]
				if q.from != nil && q.from.waiting == q {
					q.from.waiting = nil
				}
			},
			"timeOut": func(t *rapid.T) { pick(t).waiting = nil }, // the request stays on its way
			"crashAgent": func(t *rapid.T) {
				m := pick(t)
				if old := m.checkpoint; m.up && rapid.Bool().Draw(t, "checkpoint not saved") && old.End > 0 {
					m.checkpoint.Point = Point{} // as old as it can be
				}
				m.crash()
			},
			"crashServer": func(*rapid.T) { s.crash() },
			"diskFull":    func(*rapid.T) { s.full = !s.full },
			"snapshot": func(t *rapid.T) {
				m := pick(t)
				m.saved = &snapshot{m.file, m.stream, m.checkpoint}
			},
			"rollBackMachine": func(t *rapid.T) {
				m := pick(t)
				if m.saved == nil || restores {
					return
				}
				m.crash()
				m.rolls++
				m.file, m.stream, m.checkpoint = m.saved.file, m.saved.stream, m.saved.checkpoint
				for _, l := range strings.Split(strings.TrimSuffix(m.file, "\n"), "\n") {
					copied[l] = true // it may have sent more than the snapshot knows of, together with lines that are no more
				}
			},
			"restoreServer": func(t *rapid.T) {
				if !restores {
					return
				}
				skipped = append(skipped, s.restore(rapid.IntRange(0, len(s.log)).Draw(t, "records"))...)
			},
			"clone": func(t *rapid.T) {
				if len(machines) > 2 || restores {
					return
				}
				m := pick(t)
				c := &machine{name: fmt.Sprintf("%s.%d", m.name, len(machines)), file: m.file, stream: m.stream, checkpoint: m.checkpoint}
				for _, l := range strings.Split(strings.TrimSuffix(m.file, "\n"), "\n") {
					copied[l] = true
				}
				machines = append(machines, c)
			},
		})

		// Calm: late requests arrive, then every machine starts (twice, as a
		// clone may have taken its lane) and sends what it has.
		s.full = false
		for _, q := range flying {
			deliver(q, true)
		}
		for range len(machines) + 1 {
			for _, m := range machines {
				m.crash()
				m.start(s)
				for range 20 {
					if m.stopped {
						break
					}
					if q := m.read(1<<30, false); q != nil {
						m.waiting = q
						deliver(q, false)
					}
				}
			}
		}
		check(t, s, machines, skipped, copied)
	})
}

// check compares the log with what the machines wrote.
func check(t *rapid.T, s *server, machines []*machine, skipped []string, copied map[string]bool) {
	found := map[string]int{}
	for _, e := range s.log {
		for _, l := range e.lines {
			found[l]++
		}
	}
	mayMiss := map[string]bool{}
	for _, l := range skipped {
		mayMiss[l] = true
	}
	for _, m := range machines {
		for _, l := range strings.Split(strings.TrimSuffix(m.file, "\n"), "\n") {
			if l == "" {
				continue
			}
			n := found[l]
			// A line that stands in the files of two machines belongs to both.
			if n == 0 && !mayMiss[l] || n > 1 && !copied[l] {
				t.Fatalf("%q was appended %d times", l, n)
			}
		}
	}
	for lane, p := range s.progress { // ranges of a lane follow one another
		at, first := uint64(0), true
		for _, e := range s.log {
			if e.r.Lane != lane {
				continue
			}
			if !first && e.r.Start > at {
				t.Fatalf("lane %v has a hole from %d to %d", lane, at, e.r.Start)
			}
			at, first = e.r.End, false
		}
		if at != p.End {
			t.Fatalf("lane %v: progress %d, log ends at %d", lane, p.End, at)
		}
	}
}
