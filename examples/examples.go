// Package examples carries the example configurations, so that `pointsman demo`
// runs the very files that a reader sees.
package examples

import "embed"

// Demo is the folder of `pointsman demo`.
//
//go:embed demo
var Demo embed.FS
