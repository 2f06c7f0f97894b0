package peer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// hangUp ends the connection without an answer: with a reset, or a plain close.
func hangUp(w http.ResponseWriter, reset bool) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// truncate announces 100 bytes, sends 10 and closes.
func truncate(w http.ResponseWriter) {
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
	_ = buf.Flush()
}

// writeBytes sends n bytes of the pattern, with a length or chunked with the
// hash in a trailer.
func writeBytes(w http.ResponseWriter, r *http.Request, status int) {
	n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "n is the number of bytes", http.StatusBadRequest)
		return
	}
	chunked := r.URL.Query().Has("chunked")
	if chunked {
		w.Header().Set("Trailer", "X-SHA256")
	} else {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(&Pattern{}, n)); err != nil {
		return
	}
	if chunked {
		w.Header().Set("X-SHA256", hex.EncodeToString(hash.Sum(nil)))
	}
}

// streamBack sends the request's body back while it comes, in constant memory.
func streamBack(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	if err := c.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	w.WriteHeader(http.StatusOK)
	_ = c.Flush()
	_, _ = io.Copy(w, r.Body)
}

// upgrade accepts whatever protocol the client asks for, and echoes bytes.
func upgrade(w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		http.Error(w, "ask for an upgrade", http.StatusUpgradeRequired)
		return
	}
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	_ = buf.Flush()
	echoBytes(c, buf)
}

// Pattern is an endless reader of bytes that look random and are always the
// same, so that both ends know them without sending them.
type Pattern struct{ state uint64 }

// Read implements io.Reader; it never fails.
func (p *Pattern) Read(b []byte) (int, error) {
	for i := range b {
		// A linear congruential generator (Knuth, MMIX); the high byte is good
		// enough to show a byte that is lost, doubled or moved.
		p.state = p.state*6364136223846793005 + 1442695040888963407
		b[i] = byte(p.state >> 56)
	}
	return len(b), nil
}

// PatternHash is the SHA-256 of the pattern's first n bytes, in hex.
func PatternHash(n int64) string {
	hash := sha256.New()
	_, _ = io.Copy(hash, io.LimitReader(&Pattern{}, n))
	return hex.EncodeToString(hash.Sum(nil))
}
