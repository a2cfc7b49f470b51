package rules

import (
	"sync"

	"github.com/pointsman/pointsman/rules/scan"
)

// scanners keeps used scanners for the memory they have. It is a cache and holds
// nothing of any event.
var scanners = sync.Pool{New: func() any { return new(scan.Scanner) }}

// release gives a scanner back. Nothing that it read may be used any more.
func release(s *scan.Scanner) {
	s.Forget()
	scanners.Put(s)
}

// docs keeps what texts were scanned into, as scanners does.
var docs = sync.Pool{New: func() any { return new(scan.Doc) }}

// putBack gives back what Event.take returned.
func putBack(doc *scan.Doc) {
	doc.Forget()
	docs.Put(doc)
}
