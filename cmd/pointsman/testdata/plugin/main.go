// Command plugin is an external action for the tests of serve.
package main

import (
	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/plugins/log"
)

func main() { actions.Serve(log.New(actions.Logger())) }
