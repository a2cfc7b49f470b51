package expression

import "github.com/expr-lang/expr/ast"

// partsPerStep is how many parts of an expression are evaluated for one step.
// What a part does beside, such as looking at elements, has its own price.
const partsPerStep = 8

// price is what it takes to evaluate the parts of n once.
func price(n ast.Node) int { return countParts(n) / partsPerStep }

// countParts counts the parts of n; what is written out is one.
func countParts(n ast.Node) int {
	if _, ok := literal(n); ok {
		return 1
	}
	parts := 1
	for _, c := range children(n) {
		parts += countParts(c)
	}
	return parts
}

// mapPrice is that of an empty map, which takes some 350 bytes with its first
// entry.
const mapPrice = 6
