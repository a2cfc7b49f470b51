package sqlite

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// diskOp is one thing a process did to the files of a folder, as strace saw it.
type diskOp struct {
	kind string // write, truncate, sync, create, unlink, syncdir, ack
	file *diskFile
	name string // of create and unlink
	off  int64
	data []byte // of a write; of an ack its text
	// from is how many operations there were when a sync began: it covers those.
	from int
}

// diskFile is a file whatever its name is by now.
type diskFile struct{ name string }

// diskLog is everything that happened, in the order in which it ended.
type diskLog struct {
	ops  []diskOp
	acks int
}

var (
	traceLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	traceResumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
)

// readTrace makes the log of what was done to files in dir out of strace's
// output; acks is the name of the file that holds what was acknowledged.
func readTrace(path, dir, acks string) (*diskLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &traceParser{dir: dir, acks: acks, log: &diskLog{}, fds: map[string]*diskFile{}, names: map[string]*diskFile{}, open: map[string]string{}, began: map[string]int{}}
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 1<<20), 1<<28)
	for in.Scan() {
		if err := p.line(in.Text()); err != nil {
			return nil, err
		}
	}
	return p.log, in.Err()
}

type traceParser struct {
	dir, acks string
	log       *diskLog
	fds       map[string]*diskFile
	names     map[string]*diskFile
	open      map[string]string // calls that have not returned, by thread
	began     map[string]int    // how many operations there were then
}

var errTrace = errors.New("unexpected line of strace")

func (p *traceParser) line(text string) error {
	m := traceLine.FindStringSubmatch(text)
	if m == nil {
		if m = traceResumed.FindStringSubmatch(text); m == nil {
			return nil // a signal, an exit
		}
		begun := p.open[m[1]]
		delete(p.open, m[1])
		if begun == "" {
			return nil
		}
		return p.call(m[2], begun+m[3], p.began[m[1]])
	}
	if rest, ok := strings.CutSuffix(m[3], " <unfinished ...>"); ok {
		p.open[m[1]], p.began[m[1]] = rest, len(p.log.ops)
		return nil
	}
	return p.call(m[2], m[3], len(p.log.ops))
}

// call takes one finished call: its arguments, ") = " and its result.
func (p *traceParser) call(name, rest string, from int) error {
	i := strings.LastIndex(rest, ") = ")
	if j := strings.LastIndex(rest, ")"); i < 0 && j >= 0 {
		i = j
	}
	if i < 0 {
		return fmt.Errorf("%w: %s(%s", errTrace, name, rest)
	}
	args := strings.Split(rest[:i], ", ")
	result := strings.TrimLeft(strings.TrimSpace(rest[i+1:]), "= ")
	result, _, _ = strings.Cut(result, " ")
	if strings.HasPrefix(result, "-") || result == "?" {
		return nil // it failed
	}
	add := func(op diskOp) { p.log.ops = append(p.log.ops, op) }
	switch name {
	case "open", "openat":
		path := unhex(args[strings.Count(name, "at")]) // openat has the folder first
		if path == p.dir {
			p.fds[result] = &diskFile{}
			return nil
		}
		base := filepath.Base(path)
		if filepath.Dir(path) != p.dir || !strings.HasPrefix(base, "pm.db") && base != p.acks {
			delete(p.fds, result)
			return nil
		}
		if p.names[base] == nil {
			p.names[base] = &diskFile{name: base}
			add(diskOp{kind: "create", name: base, file: p.names[base]})
		}
		p.fds[result] = p.names[base]
	case "unlink", "unlinkat":
		base := filepath.Base(unhex(args[strings.Count(name, "at")]))
		if f := p.names[base]; f != nil {
			delete(p.names, base)
			add(diskOp{kind: "unlink", name: base, file: f})
		}
	case "pwrite64":
		f := p.fds[args[0]]
		if f == nil || f.name == "" {
			return nil
		}
		n, err1 := strconv.Atoi(result)
		off, err2 := strconv.ParseInt(args[3], 10, 64)
		data := []byte(unhex(args[1]))
		if err1 != nil || err2 != nil || len(data) < n {
			return fmt.Errorf("%w: a write of %s bytes at %s with %d bytes, result %s", errTrace, args[2], args[3], len(data), result)
		}
		if f.name == p.acks {
			p.log.acks++
			add(diskOp{kind: "ack", data: data[:n]})
			return nil
		}
		add(diskOp{kind: "write", file: f, off: off, data: data[:n]})
	case "ftruncate":
		if f := p.fds[args[0]]; f != nil && f.name != p.acks {
			size, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return err
			}
			add(diskOp{kind: "truncate", file: f, off: size})
		}
	case "fsync", "fdatasync":
		switch f := p.fds[args[0]]; {
		case f == nil:
		case f.name == "":
			add(diskOp{kind: "syncdir", from: from})
		default:
			add(diskOp{kind: "sync", file: f, from: from})
		}
	}
	return nil
}

// unhex reads a quoted string of strace -xx.
func unhex(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	var b strings.Builder
	for part := range strings.SplitSeq(s, `\x`) {
		if len(part) >= 2 {
			if n, err := strconv.ParseUint(part[:2], 16, 8); err == nil {
				b.WriteByte(byte(n))
			}
		}
	}
	return b.String()
}

// image is what a disk may hold after the power went.
type image struct {
	files map[string][]byte
	// acked is what was acknowledged before.
	acked []string
}

// keeping says which of the writes that were not synced a disk has.
type keeping int

const (
	keepsNothing keeping = iota
	keepsAll
	keepsSome    // of each write all or nothing
	keepsSectors // of each write any sectors
	keepsKinds
)

// cut returns an image of the moment after the first n operations. What was
// synced is there; of what came later each write is there as a whole, in part
// or not at all, whatever came after it. lies: the disk takes no sync seriously.
func (l *diskLog) cut(n int, how keeping, lies bool, rng *rand.Rand) *image {
	im := &image{files: map[string][]byte{}}
	content := map[*diskFile][]byte{}
	pending := map[*diskFile][]diskOp{}
	var dir []diskOp
	// split takes off what happened before operation from.
	split := func(ops []diskOp, from int) (before, after []diskOp) {
		i := 0
		for i < len(ops) && ops[i].from < from {
			i++
		}
		return ops[:i], ops[i:]
	}
	names := map[string]*diskFile{}
	entry := func(op diskOp) {
		if op.kind == "create" {
			names[op.name] = op.file
		} else if names[op.name] == op.file {
			delete(names, op.name)
		}
	}
	for i, op := range l.ops[:n] {
		from := op.from
		op.from = i
		switch op.kind {
		case "ack":
			im.acked = append(im.acked, strings.Fields(string(op.data))...)
		case "write", "truncate":
			pending[op.file] = append(pending[op.file], op)
		case "create", "unlink":
			dir = append(dir, op)
		case "sync":
			if !lies {
				var synced []diskOp
				synced, pending[op.file] = split(pending[op.file], from)
				for _, w := range synced {
					content[op.file] = w.apply(content[op.file], nil)
				}
			}
		case "syncdir":
			if !lies {
				var synced []diskOp
				synced, dir = split(dir, from)
				for _, e := range synced {
					entry(e)
				}
			}
		}
	}
	for _, e := range dir {
		if how == keepsAll || how != keepsNothing && rng.IntN(2) == 0 {
			entry(e)
		}
	}
	for name, f := range names {
		b := content[f]
		for _, w := range pending[f] {
			switch how {
			case keepsAll:
				b = w.apply(b, nil)
			case keepsSome:
				if rng.IntN(2) == 0 {
					b = w.apply(b, nil)
				}
			case keepsSectors:
				b = w.apply(b, rng)
			}
		}
		im.files[name] = b
	}
	return im
}

// apply does a write or a truncation to b; with rng to some of its sectors only.
func (op *diskOp) apply(b []byte, rng *rand.Rand) []byte {
	if op.kind == "truncate" {
		switch {
		case rng != nil && rng.IntN(2) == 0:
		case int64(len(b)) > op.off:
			b = b[:op.off]
		default:
			b = append(b, make([]byte, op.off-int64(len(b)))...)
		}
		return b
	}
	for at := op.off; at < op.off+int64(len(op.data)); {
		end := min(op.off+int64(len(op.data)), (at/sector+1)*sector)
		if rng == nil || rng.IntN(3) > 0 {
			if grow := end - int64(len(b)); grow > 0 {
				b = append(b, make([]byte, grow)...)
			}
			copy(b[at:end], op.data[at-op.off:])
		}
		at = end
	}
	return b
}

// write puts the image into dir. The index of the log is not on disk: what a
// power loss leaves of it is anything.
func (im *image) write(dir string, rng *rand.Rand) error {
	for name, b := range im.files {
		if strings.HasSuffix(name, "-shm") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	if _, ok := im.files["pm.db-wal"]; !ok || rng.IntN(2) == 0 {
		return nil
	}
	junk := make([]byte, 32<<10)
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	return os.WriteFile(filepath.Join(dir, "pm.db-shm"), junk, 0o600)
}
