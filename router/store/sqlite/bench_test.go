package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/router/store/storetest"
)

func BenchmarkThroughput(b *testing.B) {
	storetest.Throughput(b, open(b, filepath.Join(b.TempDir(), "pm.db"), nil))
}
