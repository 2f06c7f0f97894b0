package proxytest_test

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

func TestScript(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	served := r.Go(0, func() {
		defer conn.Close()
		buf := make([]byte, 64)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				if err != io.EOF {
					t.Error(err)
				}
				return
			}
			if _, err := conn.Write(buf[:n]); err != nil {
				t.Error(err)
			}
		}
	})
	peer.Send("hello\r\nworld")
	if got := peer.Until("\r\n"); got != "hello\r\n" {
		t.Errorf("Until = %q", got)
	}
	peer.Expect("wor")
	if got := peer.Bytes(2); string(got) != "ld" {
		t.Errorf("Bytes = %q", got)
	}
	peer.CloseWrite()
	peer.ExpectEOF()
	<-served
}

func TestResetAndTime(t *testing.T) {
	r := proxytest.Start(t, 2)
	conn, peer := r.PairOn(t, 1)
	slept := r.Go(1, func() {
		conn.Loop().Sleep(time.Minute)
		conn.Abort()
	})
	r.Advance(59 * time.Second)
	select {
	case <-slept:
		t.Error("slept too short")
	default:
	}
	r.Advance(time.Second)
	<-slept
	peer.ExpectReset()
}
