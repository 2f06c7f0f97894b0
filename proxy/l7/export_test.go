package l7

// Held returns what the buffers in use hold, the small ones left out. On the loop.
func (e *Engine) Held() int { return e.held }
