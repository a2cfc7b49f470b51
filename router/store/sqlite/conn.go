package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// conn is the writer's connection, straight on the engine that the driver wraps:
// through database/sql a statement costs half as much again. It is used by one
// goroutine at a time and takes no mutex of its own (SQLITE_OPEN_NOMUTEX).
type conn struct {
	tls *libc.TLS
	db  uintptr
	// buf holds the text and the blobs that are bound, outside Go's memory, which
	// the engine must not see: stacks move.
	buf   []byte
	addr  uintptr
	stmts map[string]*stmt
}

// stmt is a prepared statement; the connection closes it.
type stmt struct {
	c      *conn
	p      uintptr
	params int
}

// text is bound as text without being copied into a string first.
type text []byte

// engineError is a result code of SQLite with its message.
type engineError struct {
	code int32
	msg  string
}

func (e *engineError) Error() string { return e.msg }

// openConn opens or makes the file at path.
func openConn(path string, pragmas ...string) (*conn, error) {
	c := &conn{tls: libc.NewTLS(), stmts: map[string]*stmt{}}
	name, err := libc.CString(path)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	defer libc.Xfree(c.tls, name)
	out := c.tls.Alloc(8)
	defer c.tls.Free(8)
	const flags = lib.SQLITE_OPEN_READWRITE | lib.SQLITE_OPEN_CREATE | lib.SQLITE_OPEN_NOMUTEX
	rc := lib.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = *(*uintptr)(pointer(out))
	if rc != lib.SQLITE_OK {
		return nil, errors.Join(c.error(rc), c.close())
	}
	lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	if err := c.grow(64 << 10); err != nil {
		return nil, errors.Join(err, c.close())
	}
	for _, p := range pragmas {
		if err := c.script("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// close closes the statements and the connection.
func (c *conn) close() error {
	for _, s := range c.stmts {
		lib.Xsqlite3_finalize(c.tls, s.p)
	}
	var err error
	if rc := lib.Xsqlite3_close(c.tls, c.db); rc != lib.SQLITE_OK {
		err = c.error(rc)
	}
	lib.Xsqlite3_free(c.tls, c.addr)
	c.tls.Close()
	return err
}

// pointer is memory of the engine, which Go's collector does not know.
func pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// grow makes room for n bytes to bind.
func (c *conn) grow(n int) error {
	lib.Xsqlite3_free(c.tls, c.addr)
	c.buf, c.addr = nil, lib.Xsqlite3_malloc64(c.tls, lib.Tsqlite3_uint64(n))
	if c.addr == 0 {
		return c.error(lib.SQLITE_NOMEM)
	}
	c.buf = unsafe.Slice((*byte)(pointer(c.addr)), n)
	return nil
}

// error is a result code as an error, with what the connection says of it.
func (c *conn) error(rc int32) error {
	msg := libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 {
		if m := libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db)); m != msg && lib.Xsqlite3_errcode(c.tls, c.db)&0xff == rc&0xff {
			msg += ": " + m
		}
	}
	return &engineError{code: rc, msg: fmt.Sprintf("%s (%d)", msg, rc)}
}

// script runs statements that are not kept and have no parameters.
func (c *conn) script(sql string) error {
	p, err := libc.CString(sql)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, p)
	if rc := lib.Xsqlite3_exec(c.tls, c.db, p, 0, 0, 0); rc != lib.SQLITE_OK {
		return c.error(rc)
	}
	return nil
}

// stmt returns the prepared statement of query.
func (c *conn) stmt(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	p, err := libc.CString(query)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, p)
	out := c.tls.Alloc(8)
	defer c.tls.Free(8)
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, p, -1, lib.SQLITE_PREPARE_PERSISTENT, out, 0); rc != lib.SQLITE_OK {
		return nil, c.error(rc)
	}
	s := &stmt{c: c, p: *(*uintptr)(pointer(out))}
	s.params = int(lib.Xsqlite3_bind_parameter_count(c.tls, s.p))
	c.stmts[query] = s
	return s, nil
}

// write runs a statement.
func (c *conn) write(query string, args ...any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	if err := s.bind(args); err != nil {
		return err
	}
	rc := lib.Xsqlite3_step(c.tls, s.p)
	for rc == lib.SQLITE_ROW {
		rc = lib.Xsqlite3_step(c.tls, s.p)
	}
	return s.end(rc)
}

// changes is how many rows the last statement wrote.
func (c *conn) changes() int64 { return lib.Xsqlite3_changes64(c.tls, c.db) }

// query runs row for each row of a query. It must not use the statement again,
// nor any other if the query has text or blobs as parameters: see bind.
func (c *conn) query(row func(*stmt) error, query string, args ...any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	if err := s.bind(args); err != nil {
		return err
	}
	for {
		rc := lib.Xsqlite3_step(c.tls, s.p)
		if rc != lib.SQLITE_ROW {
			return s.end(rc)
		}
		if err := row(s); err != nil {
			return errors.Join(err, s.end(lib.SQLITE_DONE))
		}
	}
}

// end makes the statement ready to be used again after a step that answered rc.
func (s *stmt) end(rc int32) error {
	var err error
	if rc != lib.SQLITE_DONE {
		err = s.c.error(rc)
	}
	lib.Xsqlite3_reset(s.c.tls, s.p)
	return err
}

// bind sets the parameters. What it binds is good until the next bind on the
// connection.
func (s *stmt) bind(args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("%d parameters for a statement with %d", len(args), s.params)
	}
	size := 0
	for _, a := range args {
		switch v := a.(type) {
		case string:
			size += len(v)
		case text:
			size += len(v)
		case []byte:
			size += len(v)
		}
	}
	c := s.c
	if size > len(c.buf) {
		if err := c.grow(2 * size); err != nil {
			return err
		}
	}
	at := 0
	for i, a := range args {
		var rc int32
		n := int32(i + 1)
		switch v := a.(type) {
		case nil:
			rc = lib.Xsqlite3_bind_null(c.tls, s.p, n)
		case int64:
			rc = lib.Xsqlite3_bind_int64(c.tls, s.p, n, v)
		case int:
			rc = lib.Xsqlite3_bind_int64(c.tls, s.p, n, int64(v))
		case bool:
			var b int64
			if v {
				b = 1
			}
			rc = lib.Xsqlite3_bind_int64(c.tls, s.p, n, b)
		case string:
			rc = lib.Xsqlite3_bind_text(c.tls, s.p, n, c.addr+uintptr(at), int32(copy(c.buf[at:], v)), 0)
			at += len(v)
		case text:
			rc = lib.Xsqlite3_bind_text(c.tls, s.p, n, c.addr+uintptr(at), int32(copy(c.buf[at:], v)), 0)
			at += len(v)
		case []byte:
			if v == nil {
				rc = lib.Xsqlite3_bind_null(c.tls, s.p, n)
				break
			}
			rc = lib.Xsqlite3_bind_blob(c.tls, s.p, n, c.addr+uintptr(at), int32(copy(c.buf[at:], v)), 0)
			at += len(v)
		default:
			return errors.New("a parameter of a type that cannot be bound")
		}
		if rc != lib.SQLITE_OK {
			return c.error(rc)
		}
	}
	return nil
}

// integer is a column of the row; 0 for NULL.
func (s *stmt) integer(col int) int64 { return lib.Xsqlite3_column_int64(s.c.tls, s.p, int32(col)) }

// bytes is a column of the row as a copy; nil for NULL.
func (s *stmt) bytes(col int) []byte {
	p := lib.Xsqlite3_column_blob(s.c.tls, s.p, int32(col))
	n := lib.Xsqlite3_column_bytes(s.c.tls, s.p, int32(col))
	if p == 0 {
		return nil
	}
	return bytes.Clone(unsafe.Slice((*byte)(pointer(p)), n))
}

// string is a column of the row; empty for NULL.
func (s *stmt) string(col int) string { return string(s.bytes(col)) }

// scan sets what dest points to, a column each.
func (s *stmt) scan(dest ...any) error {
	for i, d := range dest {
		switch d := d.(type) {
		case *int64:
			*d = s.integer(i)
		case *int:
			*d = int(s.integer(i))
		case *bool:
			*d = s.integer(i) != 0
		case *string:
			*d = s.string(i)
		case *[]byte:
			*d = s.bytes(i)
		default:
			return errors.New("a column into a type that cannot be set")
		}
	}
	return nil
}
