package peer

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
)

// Idle holds keep-alive connections, each of which has carried one request.
type Idle struct{ conns []net.Conn }

// OpenIdle opens n connections to addr and sends one request on each.
func OpenIdle(addr string, n int) (*Idle, error) {
	idle := &Idle{}
	for i := range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			idle.Close()
			return nil, fmt.Errorf("open connection %d: %w", i, err)
		}
		idle.conns = append(idle.conns, c)
		if err := oneRequest(c); err != nil {
			idle.Close()
			return nil, fmt.Errorf("use connection %d: %w", i, err)
		}
	}
	return idle, nil
}

// Close closes all of them.
func (i *Idle) Close() {
	for _, c := range i.conns {
		c.Close()
	}
}

func oneRequest(c net.Conn) error {
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: idle\r\n\r\n")); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}
