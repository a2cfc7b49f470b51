//go:build !torture

package crashpoint_test

import (
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/router/store/crashpoint"
)

// An ordinary build does not know the variable: this test outlives the point.
func TestOrdinaryBuild(t *testing.T) {
	t.Setenv("POINTSMAN_CRASH", "COMMIT|before|1|kill")
	t.Setenv("POINTSMAN_CRASH_LOG", filepath.Join(t.TempDir(), "log"))
	crashpoint.Here("COMMIT", crashpoint.Before)
	if n := testing.AllocsPerRun(100, func() { crashpoint.Here("COMMIT", crashpoint.After) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for step, want := range map[string]string{
		"commit": "commit",
		"UPDATE a\n\t\tSET b = ?,  c = ? WHERE d = 'a long text that goes on and on'": "UPDATE a SET b = ?, c = ? WHERE d = 'a long text that go",
	} {
		if got := crashpoint.Name(step); got != want {
			t.Errorf("%q is named %q, want %q", step, got, want)
		}
	}
}
