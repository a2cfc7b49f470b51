package exec

// output keeps the first limit bytes and says that there were more. os/exec
// writes to it from one goroutine.
type output struct {
	limit int
	buf   []byte
	more  bool
}

const cutMark = "\n[output cut]"

func (o *output) Write(p []byte) (int, error) {
	room := o.limit - len(cutMark) - len(o.buf)
	if len(p) > room {
		o.more = true
		o.buf = append(o.buf, p[:max(room, 0)]...)
		return len(p), nil
	}
	o.buf = append(o.buf, p...)
	return len(p), nil
}

func (o *output) String() string {
	if o.more {
		return string(o.buf) + cutMark
	}
	return string(o.buf)
}
