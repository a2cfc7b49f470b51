package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router/store"
)

// dataDir is a locked data_dir.
type dataDir struct {
	path     string
	lock     *os.File
	instance store.Instance
}

// instanceRecord is data_dir/instance.json.
type instanceRecord struct {
	ID   string `json:"id"`
	Boot string `json:"boot"`
	Host string `json:"host"`
}

// openDataDir makes the folder if need be, locks it against a second router,
// and reads or makes its instance id. A folder that comes from another boot or
// host gets a new id: what the old one had leased is not this router's.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	if holder, err := lockFile(lock); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data_dir %s is in use by another router (process %s)", path, holder)
		}
		return nil, fmt.Errorf("lock data_dir %s: %w", path, err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.identify(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("data_dir %s: %w", path, err)
	}
	return d, nil
}

// lockWait is how long the lock of a router that is dead may outlive it: a child
// that was being forked when it was killed has the lock until its exec.
const lockWait = 3 * time.Second

// lockFile takes the lock, or tells which process has it.
func lockFile(lock *os.File) (holder string, err error) {
	for until := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return "", nil
		}
		text := make([]byte, 16)
		n, _ := lock.ReadAt(text, 0)
		holder := strings.TrimSpace(string(text[:n]))
		pid, bad := strconv.Atoi(holder)
		dead := bad == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
		if !errors.Is(err, unix.EWOULDBLOCK) || !dead || time.Now().After(until) {
			return holder, err
		}
	}
}

func (d *dataDir) identify() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	now := instanceRecord{Boot: strings.TrimSpace(string(boot)), Host: host}
	file := filepath.Join(d.path, "instance.json")
	var old instanceRecord
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &old); err != nil {
			return fmt.Errorf("instance.json: %w (remove it to get a new instance id)", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	now.ID = old.ID
	if now.ID == "" || old.Boot != now.Boot || old.Host != now.Host {
		now.ID = uuid.NewString()
		if text, err = json.Marshal(now); err != nil {
			return err
		}
		if err := writeFileAtomic(file, append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	d.instance = store.Instance{ID: now.ID, Host: host, PID: os.Getpid()}
	return nil
}

// close gives the folder back.
func (d *dataDir) close() { _ = d.lock.Close() }

// adminToken returns the configured token, or the one in data_dir/admin-token,
// which it makes at first.
func (d *dataDir) adminToken(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	file := filepath.Join(d.path, "admin-token")
	text, err := os.ReadFile(file)
	if err == nil {
		if token := strings.TrimSpace(string(text)); len(token) >= 16 {
			return token, nil
		}
		return "", fmt.Errorf("%s holds less than 16 characters (remove it to get a new token)", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := strings.ReplaceAll(uuid.NewString()+uuid.NewString(), "-", "")
	return token, writeFileAtomic(file, []byte(token+"\n"), 0o600)
}

// writeFileAtomic leaves either the old content or the new, on disk.
func writeFileAtomic(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
