package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Place is where things run: a network namespace together with a cgroup.
type Place struct {
	// set at construction
	Name string
	// Netns is the namespace's file, Cgroup the cgroup's directory.
	Netns, Cgroup string
	world         *World

	// guarded by mu
	mu        sync.Mutex
	processes []*Process
	sockets   *socketClient // started by the first Dial
}

// newPlace makes the namespace and the cgroup.
func (w *World) newPlace(name string) (*Place, error) {
	p := &Place{
		Name:   name,
		Netns:  filepath.Join(netnsDir, w.id+"-"+name),
		Cgroup: filepath.Join(w.Cgroup, name),
		world:  w,
	}
	if err := makeNetns(p.Netns); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.Cgroup, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	return p, nil
}

// Do runs f on a thread inside the place's namespace, and returns its error.
// Sockets that f itself makes are in the namespace, but not in the cgroup: a
// connection that f opens is NOT captured. Use Dial or Start for clients.
// Goroutines that f starts are not in the namespace.
func (p *Place) Do(f func() error) error { return inNetns(p.Netns, f) }

// Listen opens a listener in the place's namespace.
func (p *Place) Listen(network, addr string) (net.Listener, error) {
	var l net.Listener
	err := p.Do(func() error {
		var c net.ListenConfig
		// Go listens with MPTCP by default, which no capture test is about.
		c.SetMultipathTCP(false)
		var err error
		l, err = c.Listen(context.Background(), network, addr)
		return err
	})
	return l, err
}

// ListenPacket opens a UDP socket in the place's namespace.
func (p *Place) ListenPacket(network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := p.Do(func() error {
		var err error
		c, err = net.ListenPacket(network, addr)
		return err
	})
	return c, err
}

// WaitListen waits until something in the place listens on a TCP port, on any
// address.
func (p *Place) WaitListen(ctx context.Context, port uint16) error {
	what := fmt.Sprintf("a listener on port %d in %s", port, p.Name)
	return Wait(ctx, what, func() (bool, error) {
		var found bool
		err := p.Do(func() error {
			var err error
			found, err = listens(port)
			return err
		})
		return found, err
	})
}

// Kill kills every process of the place, as the kernel's out-of-memory killer
// would, and waits until they are gone.
func (p *Place) Kill() error {
	if err := killCgroup(p.Cgroup); err != nil {
		return err
	}
	p.reap()
	return nil
}

// remove kills the place's processes, and removes its cgroup and namespace.
func (p *Place) remove() error {
	err := removeCgroup(p.Cgroup)
	p.reap()
	return errors.Join(err, removeNetns(p.Netns))
}

// reap collects the place's processes, which have been killed.
func (p *Place) reap() {
	p.mu.Lock()
	processes, sockets := p.processes, p.sockets
	p.processes, p.sockets = nil, nil
	p.mu.Unlock()
	if sockets != nil {
		sockets.close()
	}
	for _, c := range processes {
		<-c.done
	}
}
