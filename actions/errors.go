package actions

import "time"

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

type retryError struct {
	error
	after time.Duration
}

func (e retryError) Unwrap() error { return e.error }

// Permanent says that trying again cannot help: the delivery becomes dead at
// once. It wins over RetryAfter. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// RetryAfter says that the next attempt makes no sense before d is over; it
// replaces the delay of the action's retry policy. The router adds up to a tenth,
// so that not everybody comes back at one instant. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return retryError{err, max(d, 0)}
}
