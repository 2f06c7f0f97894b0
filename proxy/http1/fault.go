package http1

// Error says why a message is refused. All values are preallocated; every
// error of this package is an *Error, and == compares them.
type Error struct {
	// Status is what to answer: 400, 414, 417, 431, 501 or 505 for what a client
	// sent, always 502 for what an upstream sent. The connection must be closed
	// in every case: the end of the message is unknown.
	Status int
	// Reason is one of a closed set of snake_case words, fit for a metric label.
	Reason string
}

// Error is the reason, for logs.
func (e *Error) Error() string { return "http1: " + e.Reason }
