package expression_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/scan"
)

// TestTextAsRoot: a program sees the same in JSON text as in its values, whatever
// it or another one has read before.
func TestTextAsRoot(t *testing.T) {
	t.Parallel()
	var many, list []string
	for i := range 100 {
		many = append(many, fmt.Sprintf(`"k%d":{"n":%d,"t":"x\n%d","l":[%d]}`, i, i, i, i))
		list = append(list, fmt.Sprintf(`{"n":%d}`, i))
	}
	text := `{"type":"t","data":{"a":{"b":{"c":[1,2.5,{"d":"caf\u00e9"}],"e":null}},"s\u0061me":1,` +
		`"few":{"k1":{"n":1}},"many":{` + strings.Join(many, ",") + `},"list":[` + strings.Join(list, ",") + `]}}`
	var s scan.Scanner
	if _, err := s.Scan([]byte(text), 0, 10); err != nil {
		t.Fatal(err)
	}
	root := s.Doc().Root().Any()
	c := expression.NewCompiler("event")
	var programs []*expression.Program
	for _, path := range []string{
		"event", "event.type", "event.type.x", "event.data", "event.data.a", "event.data.a.b", "event.data.a.b.c", "event.data.a.b.c[0]", "event.data.a.b.c[-1]",
		"event.data.a.b.c[-1].d", "event.data.a.b.c[2]", "event.data.a.b.c[3]", "event.data.a.b.c[-4]", "event.data.a.b.e", "event.data.a[0]", "event.data.same", "event.none",
		"event.data.few", "event.data.few.k1.n", "event.data.many", "event.data.many.k7", "event.data.many.k7.n", "event.data.many.k7.t", "event.data.many.k7.l[0]",
		"event.data.many.none", "event.data.many[0]", "event.data.list", "event.data.list[50]", "event.data.list[50].n", "event.data.list[-1].n", "event.data.list[100]",
		"event.data.list[-101]", "event.data.list.n", `event.data.many["k" + "8"].t`, "map(event.data.list, .n)", "keys(event.data.many)",
	} {
		p, err := c.Compile(path)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
	}
	onText, onValues := c.NewState(), c.NewState()
	for seed := range uint64(200) {
		onText.Reset(s.Doc())
		onValues.Reset(root)
		r := rand.New(rand.NewPCG(seed, 1))
		for _, i := range r.Perm(len(programs))[:1+r.IntN(len(programs))] {
			want, wantErr := programs[i].Eval(onValues)
			got, err := programs[i].Eval(onText)
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("seed %d, %s: %v, want %v: %s", seed, programs[i].Text(), err, wantErr, diff)
			}
		}
	}
}
