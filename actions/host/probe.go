package host

import (
	"context"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Probe is a plugin process that was started as for an action, asked for its
// description, and nothing more: no settings, no runs, no signs of life. It is
// for tools that examine plugins. Its methods are safe for concurrent use.
// Close it, before its Host.
type Probe struct{ in *instance }

// Open verifies and starts a plugin. An error says why it cannot be used.
func (h *Host) Open(ctx context.Context, spec Spec) (*Probe, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	in, err := h.launch(ctx, &spec, false)
	if err != nil {
		return nil, err
	}
	h.learn(&spec, in.desc, in.check)
	return &Probe{in}, nil
}

// Client calls the plugin; calls fail when the process ends.
func (p *Probe) Client() actionv1.ActionServiceClient { return p.in.svc }

// Description is what it said of itself.
func (p *Probe) Description() actions.Description { return p.in.desc }

// PID is the plugin's process, a child of its reaper.
func (p *Probe) PID() int { return int(p.in.proc.pid.Load()) }

// Done is closed when the process and all its descendants are gone.
func (p *Probe) Done() <-chan struct{} { return p.in.gone }

// End says how the process ended, and how many bytes it wrote on standard output
// after its handshake. It waits for Done.
func (p *Probe) End() (how string, stray int64) {
	<-p.in.gone
	return p.in.end(), p.in.proc.stray.Load()
}

// Terminate sends the process group SIGTERM. It does not wait.
func (p *Probe) Terminate() { p.in.proc.order(orderTerm) }

// Close kills the process and its descendants and waits until they are gone.
func (p *Probe) Close() {
	p.in.kill("it was closed")
	<-p.in.gone
}
