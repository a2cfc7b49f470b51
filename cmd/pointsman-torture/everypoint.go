package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// stepsMain is this binary as the process that is ended, or that looks at what
// is left; args are its arguments. The journal is the second's standard input.
func stepsMain(ctx context.Context, args []string) error {
	if args[0] == stepsArg {
		return runSteps(ctx, args[1], args[2], args[3], os.Stdout)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(os.Stdin); err != nil {
		return err
	}
	wrong, err := checkSteps(ctx, args[1], args[2], args[3], text.String())
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "\n"))
	}
	return err
}

// endAt ends a process at a point while it takes a store through all its steps,
// and returns what is wrong with what it leaves. binary is this program, built
// with -tags torture.
func endAt(ctx context.Context, binary, dir, at string, p point) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if p.store == storeSQLite {
		at = filepath.Join(dir, "pointsman.db")
	}
	name, hits := filepath.Base(dir), filepath.Join(dir, "hits")
	run := exec.CommandContext(ctx, binary, stepsArg, p.store, at, name)
	run.Env = append(os.Environ(), fmt.Sprintf("POINTSMAN_CRASH=%s|1|kill", p), "POINTSMAN_CRASH_LOG="+hits)
	var journal, said bytes.Buffer
	run.Stdout, run.Stderr = &journal, &said
	_ = run.Run() // it is killed, or did not come to the point
	if _, err := os.Stat(hits); err != nil {
		return fmt.Errorf("the run never came to this step; add it to steps.go\n%s", said.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "journal"), journal.Bytes(), 0o600); err != nil {
		return err
	}
	look := exec.CommandContext(ctx, binary, checkArg, p.store, at, name)
	look.Stdin = &journal
	if out, err := look.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.RemoveAll(dir)
}

// everyPoint ends a process at each point of the stores, some at a time, and
// returns what is wrong, by point.
func everyPoint(ctx context.Context, binary, dir, redisURL string, all []point) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	wrong := map[string]error{}
	work := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range work {
				if err := endAt(ctx, binary, filepath.Join(dir, fmt.Sprint("point-", all[i].store, i)), redisURL, all[i]); err != nil {
					mu.Lock()
					wrong[all[i].store+" "+all[i].String()] = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range all {
		work <- i
	}
	close(work)
	wg.Wait()
	return wrong
}

// stores ends processes at every point of the stores that are asked for, and
// adds it to the report.
func stores(ctx context.Context, o options, dir string, rep *report) error {
	binary := filepath.Join(dir, "steps")
	if err := build(ctx, binary, "github.com/pointsman/pointsman/cmd/pointsman-torture"); err != nil {
		return err
	}
	var all []point
	url := ""
	for _, kind := range o.stores {
		all = append(all, points(kind)...)
		if kind != storeRedis {
			continue
		}
		at := filepath.Join(dir, "redis")
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		s, err := newRedis(at)
		if err != nil {
			return err
		}
		defer s.run.kill()
		url = "redis://" + s.addr + "/0"
	}
	wrong := everyPoint(ctx, binary, dir, url, all)
	for _, p := range all {
		name := p.store + " " + p.String()
		if err := wrong[name]; err != nil {
			rep.Counts[kindPoint]++
			rep.Violations = append(rep.Violations, fmt.Sprintf("ended at %s: %v", name, err))
			continue
		}
		rep.Points++
	}
	return ctx.Err()
}
