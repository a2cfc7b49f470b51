package host

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// images keeps the sealed copies of executables that were verified, so that a
// plugin which ended is started again without its file being read and hashed:
// with some 20 MB that is most of the time a start takes. A copy is used only as
// long as the file is as it was when it was read; a running plugin has the
// memory of its copy in use anyway. The zero value has none. It is safe for
// concurrent use.
type images struct {
	mu     sync.Mutex
	kept   map[string]keptImage // by path
	closed bool
}

type keptImage struct {
	sum  string
	seen unix.Stat_t // of the file, before it was read
	file *os.File
}

// open returns what openImage does; the caller closes it.
func (m *images) open(path, sum string, memory func(name string) *os.File) (*os.File, error) {
	var now unix.Stat_t
	if err := unix.Stat(path, &now); err != nil {
		return openImage(path, sum, memory) // it says what is wrong
	}
	m.mu.Lock()
	if k, ok := m.kept[path]; ok {
		if k.sum == sum && same(&k.seen, &now) {
			defer m.mu.Unlock()
			return duplicate(k.file)
		}
		_ = k.file.Close()
		delete(m.kept, path)
	}
	m.mu.Unlock()
	file, err := openImage(path, sum, memory)
	if err != nil || !sealed(file) {
		return file, err
	}
	m.keep(path, keptImage{sum: sum, seen: now}, file)
	return file, nil
}

// keep remembers a copy of its own of file, unless another start has been faster.
func (m *images) keep(path string, k keptImage, file *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.kept[path]; ok || m.closed {
		return
	}
	var err error
	if k.file, err = duplicate(file); err != nil {
		return
	}
	if m.kept == nil {
		m.kept = map[string]keptImage{}
	}
	m.kept[path] = k
}

// close forgets all copies and keeps no more.
func (m *images) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kept {
		_ = k.file.Close()
	}
	m.kept, m.closed = nil, true
}

// same says that nothing was done to a file: whoever writes it or changes its
// mode moves its ctime, which nobody can set.
func same(a, b *unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Size == b.Size && a.Mode == b.Mode && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// sealed says that a file is a copy in memory that nobody can write.
func sealed(f *os.File) bool {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
