package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// asynqSource is the folder of the contender's module.
const asynqSource = "cmd/pointsman-bench/asynq"

// queue is the running process of the contender that enqueues and processes
// tasks with asynq, and the redis-server of its own.
type queue struct {
	cmd   *exec.Cmd
	redis *redisServer
	alive io.WriteCloser
	out   *json.Decoder
}

// findAsynq returns path, or builds the contender there; "" with a note when it
// cannot be had, which is no error: its module may have to be downloaded.
func findAsynq(ctx context.Context, path string) string {
	if path == "" {
		return ""
	}
	full, err := filepath.Abs(path)
	if err == nil {
		if _, err = os.Stat(full); err == nil {
			return full
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", full, ".")
		cmd.Dir = asynqSource
		var text []byte
		if text, err = cmd.CombinedOutput(); err == nil {
			return full
		}
		err = fmt.Errorf("%w\n%s", err, text)
	}
	fmt.Fprintf(os.Stderr, "pointsman-bench: asynq is not measured: build %s: %v\n", asynqSource, err)
	return ""
}

// startAsynq starts the contender on a new redis-server that syncs as the one
// of store does, or every second when that is none.
func startAsynq(ctx context.Context, path, store, dir string) (_ *queue, err error) {
	if store != redisPrefix+"always" {
		store = redisPrefix + "everysec"
	}
	dir = filepath.Join(dir, "asynq")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	rs, err := startRedis(ctx, store, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			rs.stop()
		}
	}()
	q := &queue{cmd: exec.CommandContext(ctx, path, rs.addr), redis: rs}
	q.cmd.Stderr = os.Stderr
	if q.alive, err = q.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := q.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	q.out = json.NewDecoder(out)
	return q, q.cmd.Start()
}

func (q *queue) stop() error {
	_ = q.alive.Close()
	err := q.cmd.Wait()
	q.redis.stop()
	return err
}

// measure drives one round. The batch of l is ignored: asynq enqueues one by
// one.
func (q *queue) measure(_ context.Context, n *sequence, l load) (measurement, error) {
	type nanos struct{ P50, P99 time.Duration }
	payload, at := eventOf(0)
	order, err := json.Marshal(map[string]any{
		"payload": payload, "at": at, "digits": idDigits, "first": n.next, "conns": l.conns, "length": l.length, "rate": l.rate,
	})
	if err != nil {
		return measurement{}, err
	}
	cpu := startCPU(q.cmd.Process.Pid, q.redis.pid())
	if _, err := q.alive.Write(append(order, '\n')); err != nil {
		return measurement{}, err
	}
	var a struct {
		Events           int
		Sending, Whole   time.Duration
		Answers, Results nanos
	}
	if err := q.out.Decode(&a); err != nil {
		return measurement{}, fmt.Errorf("read answer: %w", err)
	}
	if a.Events == 0 {
		return measurement{}, errors.New("no task was enqueued")
	}
	n.next += int64(a.Events)
	m := measurement{
		events: a.Events, sending: a.Sending, whole: a.Whole,
		answers: quantile{a.Answers.P50, a.Answers.P99}, results: quantile{a.Results.P50, a.Results.P99},
	}
	return m, cpu.stop(&m)
}
