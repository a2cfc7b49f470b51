package sqlite_test

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pointsman/pointsman/router/store/storetest"
)

func BenchmarkThroughput(b *testing.B) {
	storetest.Throughput(b, open(b, filepath.Join(b.TempDir(), "pm.db"), nil))
}

func BenchmarkLane(b *testing.B) {
	for _, waiting := range []int{100, 20_000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			storetest.Lane(b, open(b, filepath.Join(b.TempDir(), "pm.db"), nil), waiting)
		})
	}
}
