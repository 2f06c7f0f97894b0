package proxy_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// TestIdleConnectionsAreSmall measures user memory (heap and stacks) of
// connections that have carried a request and wait for the next.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const connections, limit = 2000, 2048 // bytes each
	raiseLimit(t, 3*connections)
	w := newWorld(t, 2)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	warm := w.dial()
	warm.Send(get)
	server := endpoint.Accept()
	server.Expect(get)
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	warm.Until("\r\n\r\n")
	before := userMemory()
	fds := make([]int, connections)
	for i := range fds {
		fds[i] = connect(t, w)
		defer unix.Close(fds[i])
	}
	w.eventually(`proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 2001`)
	after := userMemory()
	if each := (int64(after) - int64(before)) / connections; each > limit {
		t.Errorf("%d bytes a connection, want at most %d", each, limit)
	} else {
		t.Logf("%d bytes a connection", each)
	}
}

func userMemory() uint64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// connect opens a connection without any memory of Go's.
func connect(t *testing.T, w *world) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(w.listener.Port()), Addr: w.listener.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func raiseLimit(t *testing.T, to uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= to {
		return
	}
	if limit.Max < to {
		t.Skipf("%d descriptors are allowed, %d are needed", limit.Max, to)
	}
	limit.Cur = to
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}
