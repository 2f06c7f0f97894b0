package abuse

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/http1"
)

// TestRun plays the catalogue against the smallest proxy that the codec makes: one
// goroutine each way, one upstream connection a request. It shows that the
// catalogue can be passed, and that the codec alone passes it.
func TestRun(t *testing.T) {
	up, front := listen(t), listen(t)
	go func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			go (&session{client: c, upstream: up.Addr().String()}).run()
		}
	}()
	Run(t, Config{Upstream: up, Dial: func() (net.Conn, error) { return net.Dial("tcp", front.Addr().String()) }})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type session struct {
	client   net.Conn
	upstream string
	in       []byte // read from the client, not consumed
	request  http1.Request
}

var errAgain = errors.New("the session goes on")

func (s *session) run() {
	defer s.client.Close()
	for {
		s.request.Reset()
		err := s.one()
		if err == errAgain {
			continue
		}
		if e, ok := err.(*http1.Error); ok {
			s.refuse(e)
		}
		return
	}
}

// refuse answers and closes so that the answer is not lost (RFC 9112 9.6).
func (s *session) refuse(e *http1.Error) {
	out := http1.AppendStatusLine(nil, e.Status)
	out = http1.AppendField(out, "Content-Length", "0")
	out = http1.AppendField(out, "Connection", "close")
	s.client.Write(append(out, "\r\n"...))
	s.client.(*net.TCPConn).CloseWrite()
	s.client.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, s.client)
}

// more reads on; what was read before stays at the start of the buffer.
func more(c net.Conn, in []byte) ([]byte, error) {
	p := make([]byte, 4096)
	n, err := c.Read(p)
	return append(in, p[:n]...), err
}

func (s *session) one() error {
	n, err := s.request.Parse(s.in, nil)
	for n == 0 && err == nil {
		if s.in, err = more(s.client, s.in); err == nil {
			n, err = s.request.Parse(s.in, nil)
		}
	}
	if err != nil {
		return err
	}
	up, err := net.Dial("tcp", s.upstream)
	if err != nil {
		return err
	}
	defer up.Close()
	r := &s.request
	head := r.AppendHead(nil, &http1.RequestHead{
		Framing: r.Framing(), Host: map[bool]string{true: "none"}[r.Host() == nil],
		Edits: []http1.Edit{{Kind: http1.Remove, Name: "Expect"}},
	})
	if _, err = up.Write(head); err != nil {
		return err
	}
	method, minor, keep := string(r.Method()), r.Minor, r.KeepAlive
	framing := r.Framing()
	s.in = s.in[n:]
	sent := make(chan error, 1)
	go func() {
		var body http1.Body
		body.Start(framing)
		var err error
		if s.in, err = relay(up, s.client, s.in, &body, framing); err != nil {
			up.Close()
		}
		sent <- err
	}()
	answered := s.answer(up, method, minor, keep)
	select {
	case err := <-sent:
		if err != nil {
			return err
		}
	case <-time.After(200 * time.Millisecond):
		// The answer overtook a body that does not come: that connection has no future.
		if e, ok := answered.(*http1.Error); ok {
			s.refuse(e)
		}
		s.client.Close()
		<-sent
		return errors.New("the session ends")
	}
	return answered
}

func (s *session) answer(up net.Conn, method string, minor int, keep bool) error {
	var in []byte
	var r http1.Response
	for {
		n, err := r.Parse(in, nil, []byte(method))
		if err == nil && n == 0 {
			if in, err = more(up, in); err != nil {
				return &http1.Error{Status: 502, Reason: "cut"}
			}
			continue
		}
		if err != nil {
			return err
		}
		if !r.Informational() {
			in = in[n:]
			break
		}
		in = in[n:]
		r.Reset()
	}
	if r.Status() == 101 {
		return &http1.Error{Status: 502, Reason: "unasked"}
	}
	framing := r.FramingFor(minor)
	head := r.AppendHead(nil, &http1.ResponseHead{Framing: framing, ClientMinor: minor, Close: !keep})
	if _, err := s.client.Write(head); err != nil {
		return err
	}
	var body http1.Body
	body.Start(r.Framing())
	if _, err := relay(s.client, up, in, &body, framing); err != nil || !keep || framing.Kind == http1.UntilClose {
		return errors.New("the session ends")
	}
	return errAgain
}

// relay sends a body on, and gives back what follows it.
func relay(to, from net.Conn, in []byte, body *http1.Body, as http1.Framing) ([]byte, error) {
	for {
		data, n, err := body.Next(in)
		if err != nil {
			return nil, err
		}
		if len(data) > 0 && as.Kind == http1.Chunked {
			data = append(append(http1.AppendChunkHead(nil, len(data)), data...), "\r\n"...)
		}
		if _, err := to.Write(data); err != nil {
			return nil, err
		}
		in = in[n:]
		if body.Done() {
			break
		}
		if in, err = more(from, in); err == io.EOF {
			if err = body.EOF(); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, err
		}
	}
	if as.Kind == http1.Chunked {
		if _, err := to.Write(http1.AppendLastChunk(nil, body.Trailers())); err != nil {
			return nil, err
		}
	}
	return in, nil
}
