package host

import "encoding/json"

// ValidateParams says what is wrong with parameters for a spec that need not be
// in force, on the same terms as Validate.
func (h *Host) ValidateParams(spec Spec, params json.RawMessage) error {
	h.mu.RLock()
	k := h.known[knownKey(&spec)]
	h.mu.RUnlock()
	if k.check == nil {
		return nil
	}
	return k.check.checkParams(params)
}
