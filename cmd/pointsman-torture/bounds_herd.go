package main

import (
	"context"
)

func herd(ctx context.Context, o *boundsOptions, _ *tools, s *site, f *finding) error     { return nil }
func overload(ctx context.Context, o *boundsOptions, _ *tools, s *site, f *finding) error { return nil }
