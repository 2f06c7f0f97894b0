package reactor

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

type echoTask struct {
	c   *Conn
	buf []byte
	out [2][]byte
}

func (e *echoTask) Ready(c *Conn) { c.Loop().Go(e) }

func (e *echoTask) Run() {
	n, err := e.c.Read(e.buf)
	if err != nil {
		e.c.Close()
		return
	}
	e.out[0], e.out[1] = e.buf[:n/2], e.buf[n/2:n]
	if _, err := e.c.Writev(e.out[:]); err != nil {
		e.c.Close()
		return
	}
	e.c.Park(e)
}

func listenFD(t testing.TB) (int, netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1024); err != nil {
		t.Fatal(err)
	}
	return fd, sockname(fd)
}

// run starts a group and ends it with the test.
func run(t testing.TB, c Config) *Group {
	t.Helper()
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

func echoServer(t testing.TB, g *Group) netip.AddrPort {
	fd, at := listenFD(t)
	l := g.Loop(0)
	n := 0
	l.Post(func() {
		_, err := l.Listen(fd, func(fd int, peer netip.AddrPort) {
			to := g.Loop(n % g.Len())
			n++
			f := func() {
				c, err := to.Adopt(fd, peer)
				if err != nil {
					return
				}
				c.Park(&echoTask{c: c, buf: make([]byte, 4096)})
			}
			if to == l {
				f()
			} else {
				to.Post(f)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	return at
}

func TestEcho(t *testing.T) {
	at := echoServer(t, run(t, Config{Loops: 2}))
	for range 4 {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 100 {
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			var b [5]byte
			if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "hello" {
				t.Fatal(string(b[:]), err)
			}
		}
	}
}
