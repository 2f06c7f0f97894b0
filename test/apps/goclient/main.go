// Command goclient is an ordinary Go client, for the stories of test/apps: it
// knows nothing of Culvert. OWN is the pod's address as it sees it itself, SOURCE
// as the server sees it.
//
//	goclient STORY ADDRESS OWN SOURCE
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: goclient STORY ADDRESS OWN SOURCE")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "goclient:", err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run(ctx context.Context, story, addr, own, source string) error {
	switch story {
	case "http":
		return plain(addr, own, source)
	case "h2c":
		return h2c(addr)
	case "tcp":
		return tcp(addr, own)
	case "grpc":
		return call(ctx, addr)
	case "grpc-server":
		return serve(addr)
	}
	return fmt.Errorf("unknown story %q", story)
}

// seen is what the server says of a request.
type seen struct {
	Bytes   int               `json:"bytes"`
	Hash    string            `json:"sha256"`
	Remote  string            `json:"remote"`
	Trailer map[string]string `json:"trailers"`
}

// plain keeps one connection for requests of all kinds, then uses another whose
// source address it has chosen.
func plain(addr, own, source string) error {
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	var reused []bool
	ask := func(method string, body io.Reader, edit func(*http.Request)) (seen, error) {
		req, err := http.NewRequest(method, "http://"+addr+"/go", body)
		if err != nil {
			return seen{}, err
		}
		edit(req)
		trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = append(reused, c.Reused) }}
		return read(client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace))))
	}
	nothing := func(*http.Request) {}
	for range 5 {
		s, err := ask("GET", nil, nothing)
		if err != nil || s.Remote != source {
			return errors.Join(err, fmt.Errorf("GET was seen from %q, want %q", s.Remote, source))
		}
	}
	body := bytes.Repeat([]byte("go"), 500_000)
	sum := sha256.Sum256(body)
	for _, edit := range []func(*http.Request){
		nothing,
		func(r *http.Request) { r.ContentLength = -1 }, // chunked
		func(r *http.Request) { r.ContentLength, r.Trailer = -1, http.Header{"X-Sum": {"of it all"}} },
	} {
		s, err := ask("POST", bytes.NewReader(body), edit)
		if err != nil || s.Bytes != len(body) || s.Hash != hex.EncodeToString(sum[:]) {
			return errors.Join(err, fmt.Errorf("POST of %d bytes was seen as %d", len(body), s.Bytes))
		}
		if s.Trailer["x-sum"] != "of it all" && s.Trailer["x-sum"] != "" {
			return fmt.Errorf("trailer was seen as %v", s.Trailer)
		}
	}
	for i, again := range reused {
		if again != (i > 0) {
			return fmt.Errorf("connections were reused as %v", reused)
		}
	}
	transport.CloseIdleConnections()
	bound := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(own)}}
	s, err := read((&http.Client{Transport: &http.Transport{DialContext: bound.DialContext}}).Get("http://" + addr + "/bound"))
	if err == nil && s.Remote != source {
		err = fmt.Errorf("the server saw %q", s.Remote)
	}
	return err
}

func read(resp *http.Response, err error) (s seen, _ error) {
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("answered %s", resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// h2c speaks HTTP/2 without TLS, with prior knowledge.
func h2c(addr string) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	for range 10 {
		resp, err := client.Get("http://" + addr + "/small")
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || string(body) != "a small file\n" {
			return errors.Join(err, fmt.Errorf("%s answered %q", resp.Proto, body))
		}
	}
	return nil
}

// tcp shuts its side and reads the answer; the second time from an address and a
// source that it has chosen (bind before a non-blocking connect).
func tcp(addr, own string) error {
	for _, local := range []net.Addr{nil, &net.TCPAddr{IP: net.ParseIP(own)}} {
		c, err := (&net.Dialer{LocalAddr: local, Timeout: 20 * time.Second}).Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if c.RemoteAddr().String() != addr || c.LocalAddr().(*net.TCPAddr).IP.String() != own {
			return fmt.Errorf("the connection is %v to %v, want %s to %s", c.LocalAddr(), c.RemoteAddr(), own, addr)
		}
		if _, err := io.Copy(c, strings.NewReader(strings.Repeat("t", 2_000_000))); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if answer, err := io.ReadAll(c); err != nil || string(answer) != "2000000\n" {
			return errors.Join(err, fmt.Errorf("answered %q", answer))
		}
	}
	return nil
}

// call makes unary calls and a stream over one connection.
func call(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	for range 20 {
		r, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
			return errors.Join(err, fmt.Errorf("check answered %v", r))
		}
	}
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s.Serve(l)
}
