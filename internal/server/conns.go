package server

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// mostConns is how many connections are open at a time, at about 20 KB of
	// memory each (50 KB with TLS). An agent has a few.
	mostConns = 10_000
	// connsWarn is the time between two warnings that there are no more.
	connsWarn = time.Minute
)

// limitListener accepts no more connections than there are places. The others
// wait in the queue of the system: files of the shard log must not compete for
// descriptors with connections, which anybody can open.
type limitListener struct {
	net.Listener
	places chan struct{} // holds a token for each open connection
	closed chan struct{}
	once   sync.Once
	logger *slog.Logger
	now    func() time.Time
	warned time.Time // only Accept uses it, which one goroutine calls
}

func newLimitListener(l net.Listener, most int, logger *slog.Logger, now func() time.Time) *limitListener {
	return &limitListener{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{}), logger: logger, now: now}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	default:
		if now := l.now(); now.Sub(l.warned) >= connsWarn {
			l.warned = now
			l.logger.Warn("as many connections are open as the service takes; further clients wait until some close. If these are agents, raise the limit of open files of this process",
				"connections", cap(l.places))
		}
		select {
		case l.places <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, places: l.places}, nil
}

// Close implements net.Listener.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.places })
	return err
}

// CloseWrite ends what is sent. net/http looks for it, so that a refusal
// reaches a client that is still sending.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
