package host

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"
)

// Spec is one configured action.
type Spec struct {
	// Action is its name.
	Action string
	// Plugin is the name of a bundled plugin or the absolute path of an
	// executable.
	Plugin string
	// SHA256 of the executable in hex; required for a path.
	SHA256 string
	// MTLS: the connection is authenticated both ways. Nil: true. It can be
	// switched off for an executable that cannot do it.
	MTLS *bool
	// Settings is a JSON object; empty: none.
	Settings json.RawMessage
	// Dir is the folder of the configuration, where relative paths start.
	Dir string
	// Env is added to the plugin's environment, as NAME=VALUE.
	Env []string
	// MaxInFlight bounds the runs that are open at a time, beside what the plugin
	// takes. 0: no other bound; 64 for a plugin without the stream.
	MaxInFlight int
	// Limits of the plugin's process and all it starts.
	Limits Limits
	// User is the name of the user it runs as, with that user's groups. Empty:
	// the router's own. Another needs a router that runs as root.
	User string
}

func (s *Spec) external() bool { return strings.Contains(s.Plugin, "/") }

func (s *Spec) mtls() bool { return s.MTLS == nil || *s.MTLS }

func (s *Spec) settings() json.RawMessage {
	if len(bytes.TrimSpace(s.Settings)) == 0 {
		return json.RawMessage("{}")
	}
	return s.Settings
}

func (s *Spec) equal(o *Spec) bool {
	a, b := *s, *o
	am, bm := a.mtls(), b.mtls()
	a.MTLS, b.MTLS = nil, nil
	return am == bm && reflect.DeepEqual(a, b)
}

func (s *Spec) check() error {
	switch {
	case s.Action == "":
		return errors.New("an action without a name")
	case s.Plugin == "":
		return errors.New("name a plugin")
	case s.Limits.check() != nil:
		return s.Limits.check()
	case !s.external():
		return nil
	case !filepath.IsAbs(s.Plugin):
		return fmt.Errorf("plugin %s: a relative path; the path must be absolute", s.Plugin)
	case s.SHA256 == "":
		return fmt.Errorf("plugin %s: sha256 is required; see sha256sum %[1]s", s.Plugin)
	}
	if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("plugin %s: sha256 must have 64 hexadecimal digits", s.Plugin)
	}
	return nil
}

// openImage verifies an executable and returns the verified bytes as a file to
// execute: a sealed copy in memory, so that nothing done to the path or to the
// file between the check and the start, or later, changes what runs. Where the
// system allows no such copy it is the open file itself.
func openImage(path, sum string, memory func(name string) *os.File) (*os.File, error) {
	want, err := hex.DecodeString(sum)
	if err != nil {
		return nil, fmt.Errorf("sha256: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = checkMode(fi)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	image := memory(filepath.Base(path))
	h := sha256.New()
	into := io.Writer(h)
	if image != nil {
		into = io.MultiWriter(h, image)
	}
	_, err = io.Copy(into, f)
	if err == nil && subtle.ConstantTimeCompare(h.Sum(nil), want) != 1 {
		err = fmt.Errorf("checksum is %x, not the configured sha256", h.Sum(nil))
	}
	if err == nil && image != nil {
		_, err = unix.FcntlInt(image.Fd(), unix.F_ADD_SEALS,
			unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = f.Close()
		if image != nil {
			_ = image.Close()
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if image == nil {
		return f, nil
	}
	_ = f.Close()
	return image, nil
}

// memoryFile makes an empty executable file in memory, nil where the system
// allows none.
func memoryFile(name string) *os.File {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func checkMode(fi os.FileInfo) error {
	switch {
	case !fi.Mode().IsRegular():
		return errors.New("not a regular file")
	case fi.Mode().Perm()&0o022 != 0:
		return errors.New("others may write it; run chmod go-w")
	case fi.Mode().Perm()&0o111 == 0:
		return errors.New("not executable; run chmod +x")
	}
	return nil
}
