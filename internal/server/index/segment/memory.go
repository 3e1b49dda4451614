package segment

import (
	"context"
	"sync"
)

// memoryBudget counts the bytes of all tables.
type memoryBudget struct {
	soft int64 // above it, tables are sealed
	hard int64 // from it on, wait waits

	mu   sync.Mutex
	used int64
	free chan struct{} // closed and replaced when bytes are given back
}

func (m *memoryBudget) init(soft int64) {
	m.soft, m.hard = soft, soft+soft/2
	m.free = make(chan struct{})
}

func (m *memoryBudget) add(n int64) {
	if n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used += n
	if n < 0 {
		close(m.free)
		m.free = make(chan struct{})
	}
}

// over says whether tables should be sealed.
func (m *memoryBudget) over() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used > m.soft
}

// wait returns when there is room for another record. closing ends it with
// ErrClosed.
func (m *memoryBudget) wait(ctx, closing context.Context) error {
	for {
		m.mu.Lock()
		used, free := m.used, m.free
		m.mu.Unlock()
		if used < m.hard {
			return nil
		}
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		case <-closing.Done():
			return ErrClosed
		}
	}
}
