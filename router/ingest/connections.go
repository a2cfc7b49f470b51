package ingest

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connections bounds the open connections of a server. One too many takes the
// place of the one that has been without a request longest; when all of them
// have requests, it is closed itself.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]*list.Element // nil: with a request
	idle *list.List                 // of net.Conn, the longest idle first
}

func newConnections(most int) *connections {
	return &connections{most: most, open: make(map[net.Conn]*list.Element), idle: list.New()}
}

// changed is the server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		// Not through TLS, which would wait to say good-bye.
		if t, ok := victim.(*tls.Conn); ok {
			victim = t.NetConn()
		}
		_ = victim.Close() // its goroutine sees it and tells of StateClosed
	}
}

// note keeps the books and returns the connection that must go.
func (c *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = c.idle.PushBack(conn)
		if len(c.open) > c.most {
			victim := c.idle.Remove(c.idle.Front()).(net.Conn)
			delete(c.open, victim)
			return victim
		}
	case http.StateIdle:
		if e, known := c.open[conn]; known && e == nil {
			c.open[conn] = c.idle.PushBack(conn)
		}
	case http.StateActive:
		if e := c.open[conn]; e != nil {
			c.idle.Remove(e)
			c.open[conn] = nil
		}
	case http.StateClosed, http.StateHijacked:
		if e := c.open[conn]; e != nil {
			c.idle.Remove(e)
		}
		delete(c.open, conn)
	}
	return nil
}
