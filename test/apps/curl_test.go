package apps

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// curlCase is one run of curl. BASE in args and wants stands for the service's URL.
type curlCase struct {
	name string
	args string
	want []string // in the output
	went way
}

// siteCases are asked of nginx; upload is the path of a large file.
func siteCases(bigHash string) []curlCase {
	return []curlCase{
		{"one request", "-i BASE/small", []string{"HTTP/1.1 200 OK", "Server: nginx", "a small file"}, way{HTTP: 1, Requests: 1}},
		{"three requests over one connection", "-w connects:%{num_connects}; BASE/small BASE/small BASE/small",
			[]string{"connects:1;", "connects:0;"}, way{HTTP: 1, Requests: 3}},
		{"in parallel", "-Z --parallel-max 4 --parallel-immediate BASE/small?[1-4]", []string{"a small file"}, way{HTTP: 4, Requests: 4}},
		{"HTTP/1.0", "-i --http1.0 BASE/small", []string{"200 OK", "a small file"}, way{HTTP: 1, Requests: 1}},
		{"HTTP/1.0 with keep-alive", "-i --http1.0 -H Connection:keep-alive -w connects:%{num_connects}; BASE/small BASE/small",
			[]string{"Connection: keep-alive", "connects:0;"}, way{HTTP: 1, Requests: 2}},
		{"close", "-i -H Connection:close BASE/small", []string{"200 OK", "Connection: close"}, way{HTTP: 1, Requests: 1}},
		{"HEAD", "-I -w size:%{size_download}; BASE/big BASE/big", []string{"Content-Length: 8388608", "size:0;"}, way{HTTP: 1, Requests: 2}},
		{"no such file", "-i BASE/gone BASE/small", []string{"404 Not Found", "a small file"}, way{HTTP: 1, Requests: 2}},
		{"not modified", "-i -H If-None-Match:* BASE/small BASE/small", []string{"304 Not Modified"}, way{HTTP: 1, Requests: 2}},
		{"range", "-i -r 2-6 BASE/small", []string{"206 Partial Content", "small"}, way{HTTP: 1, Requests: 1}},
		{"refused method", "-i -X DELETE BASE/small", []string{"405 Not Allowed"}, way{HTTP: 1, Requests: 1}},
		{"compression", "--compressed -i BASE/small", []string{"200 OK", "a small file"}, way{HTTP: 1, Requests: 1}},
		{"offer of HTTP/2", "-i --http2 BASE/small", []string{"HTTP/1.1 200 OK", "a small file"}, way{HTTP: 1, Requests: 1}},
		{"fast open", "-i --tcp-fastopen BASE/small", []string{"200 OK", "a small file"}, way{HTTP: 1, Requests: 1}},
		{"answer before the body is read", "-i -T UPLOAD BASE/small", []string{"413 Request Entity Too Large"}, way{HTTP: 1, Requests: 1}},
		{"large file", "-o BIG -w %{http_code} BASE/big", []string{"200"}, way{HTTP: 1, Requests: 1}},
	}
}

// echoCases are asked of the Node server; hash is UPLOAD's.
func echoCases(hash string) []curlCase {
	return []curlCase{
		{"form", "-d key=value BASE/form?a=%20b", []string{`"method":"POST"`, `"url":"/form?a=%20b"`, `"bytes":9`, `"content-type":"application/x-www-form-urlencoded"`}, way{HTTP: 1, Requests: 1}},
		{"upload", "-T UPLOAD BASE/up", []string{`"method":"PUT"`, hash, `"content-length":"3000000"`}, way{HTTP: 1, Requests: 1}},
		{"chunked upload", "-T UPLOAD -H Transfer-Encoding:chunked BASE/up", []string{hash, `"transfer-encoding":"chunked"`}, way{HTTP: 1, Requests: 1}},
		{"large POST expects 100", "-v -H Expect:100-continue --expect100-timeout 20 --data-binary @UPLOAD BASE/up",
			[]string{"HTTP/1.1 100 Continue", hash}, way{HTTP: 1, Requests: 1}},
		{"refused expectation", "-i -H Expect:100-continue --expect100-timeout 20 --data-binary @UPLOAD BASE/refuse",
			[]string{"417 Expectation Failed"}, way{HTTP: 1, Requests: 1}},
		{"multipart", "-F file=@UPLOAD -F a=b BASE/form", []string{`"content-type":"multipart/form-data`}, way{HTTP: 1, Requests: 1}},
		{"no content", "-i BASE/none BASE/none", []string{"204 No Content"}, way{HTTP: 1, Requests: 2}},
		{"chunked answer with trailers", "-i BASE/stream", []string{"Transfer-Encoding: chunked", "chunk 999", "x-end: reached"}, way{HTTP: 1, Requests: 1}},
		{"chunked answer for HTTP/1.0", "-i --http1.0 BASE/stream", []string{"chunk 999"}, way{HTTP: 1, Requests: 1}},
		{"early hints", "-i BASE/hint", []string{"103 Early Hints", "HTTP/1.1 200"}, way{HTTP: 1, Requests: 1}},
		{"OPTIONS *", "-X OPTIONS --request-target * BASE", []string{`"method":"OPTIONS"`, `"url":"*"`}, way{HTTP: 1, Requests: 1}},
		{"a method of its own", "-X PROPFIND BASE/dav", []string{`"method":"PROPFIND"`}, way{HTTP: 1, Requests: 1}},
		{"header fields", "-H X-Odd:a,b;c -H X-Empty; -b c=1;d=2 -A old/1.0 -u user:secret BASE/h",
			[]string{`"x-odd":"a,b;c"`, `"x-empty":""`, `"cookie":"c=1;d=2"`, `"user-agent":"old/1.0"`, `"authorization":"Basic `}, way{HTTP: 1, Requests: 1}},
		{"source port from a range", "--local-port 30000-31000 BASE/", []string{`"method":"GET"`}, way{HTTP: 1, Requests: 1}},
		{"source address", "--interface host!OWN BASE/", []string{`"remote":"SOURCE"`}, way{HTTP: 1, Requests: 1}},
	}
}

// uploadBytes is the size of the file that clients upload.
const uploadBytes = 3_000_000

// upload makes the file that clients upload.
func (f *fixture) upload(t *testing.T) (path, hash string) {
	t.Helper()
	text := strings.Repeat("0123456789", uploadBytes/10)
	sum := sha256.Sum256([]byte(text))
	return f.write(t, "upload", text), hex.EncodeToString(sum[:])
}

// curlStories asks the same of a declared and of an undeclared port, over IPv4 and IPv6.
func curlStories(t *testing.T, f *fixture) {
	bigHash := f.nginx(t)
	f.echo(t)
	_, hash := f.upload(t)
	for _, s := range []service{{"site", false}, {"site-any", true}} {
		for _, c := range siteCases(bigHash) {
			t.Run(s.String()+"/"+c.name, func(t *testing.T) { f.curl(t, s, c) })
		}
		if sum := sha256.Sum256([]byte(f.read(t, "big"))); hex.EncodeToString(sum[:]) != bigHash {
			t.Errorf("the large file did not arrive as it was (hash %x)", sum)
		}
	}
	for _, s := range []service{{"echo", true}, {"echo-any", false}} {
		for _, c := range echoCases(hash) {
			t.Run(s.String()+"/"+c.name, func(t *testing.T) { f.curl(t, s, c) })
		}
	}
}

func (f *fixture) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// curl runs one case from the client pod.
func (f *fixture) curl(t *testing.T, s service, c curlCase) {
	t.Helper()
	fill := strings.NewReplacer("BASE", f.url(t, s), "UPLOAD", filepath.Join(f.dir, "upload"), "BIG", filepath.Join(f.dir, "big"), "OWN", f.own(f.client, s), "SOURCE", f.source(f.client, s))
	args := []string{"curl", "-sS", "--globoff", "--noproxy", ""}
	if strings.Contains(c.args, "[") {
		args = []string{"curl", "-sS"}
		// curl's own globs need IPv6 addresses escaped.
		fill = strings.NewReplacer("BASE", strings.NewReplacer("[", `\[`, "]", `\]`).Replace(f.url(t, s)))
	}
	for _, a := range strings.Fields(c.args) {
		args = append(args, fill.Replace(a))
	}
	var out string
	f.went(t, f.client, s, c.went, func() { out = f.run(t, f.client, args...) })
	for _, want := range c.want {
		mustContain(t, out, fill.Replace(want))
	}
	if t.Failed() {
		t.Logf("curl %v", args)
	}
}

// curlUpgrade asks for a WebSocket by hand: curl leaves the bytes after 101 alone.
func curlUpgrade(t *testing.T, f *fixture) {
	f.echo(t)
	for _, s := range []service{{"echo", false}, {"echo-any", true}} {
		args := []string{"curl", "-isS", "-N", "--http1.1", "--max-time", "0.3", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
			"-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f.url(t, s) + "/socket"}
		var out string
		// It waits for frames until its time is over: that is its error.
		f.went(t, f.client, s, way{HTTP: 1, Requests: 1}, func() { out, _ = f.try(t, f.client, args...) })
		mustContain(t, out, "101 Switching Protocols", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
	}
}

// curlStream: what a server sends bit by bit arrives bit by bit, and clients may leave.
func curlStream(t *testing.T, f *fixture) {
	f.echo(t)
	for _, s := range []service{{"echo", true}, {"echo-any", false}} {
		f.went(t, f.client, s, way{HTTP: 3, Requests: 3, Failed: 1}, func() {
			stream := f.w.Start(f.client.Place, find(t, "curl"), "-sSN", f.url(t, s)+"/events")
			f.waitOutput(t, stream, "event 0")
			for _, event := range []string{"event 1", "event 2"} {
				f.run(t, f.client, "curl", "-sS", f.url(t, s)+"/fire")
				f.waitOutput(t, stream, event)
			}
			stream.Kill()
		})
		// A client that gives up ends its request, also when the server is silent.
		f.went(t, f.client, s, way{HTTP: 1, Requests: 1, Failed: 1}, func() {
			if _, err := f.try(t, f.client, "curl", "-sS", "--max-time", "0.2", f.url(t, s)+"/hang"); err == nil {
				t.Error("there was an answer")
			}
		})
	}
}

// downloads: other HTTP clients that everybody has, and one beside its server. apt pipelines its requests.
func downloads(t *testing.T, f *fixture) {
	f.nginx(t)
	for _, s := range []service{{"site", true}, {"site-any", false}} {
		// A pod that dials a service whose only endpoint it is itself.
		f.went(t, f.server, s, way{HTTP: 1, Requests: 1}, func() {
			mustContain(t, f.run(t, f.server, "curl", "-sS", f.url(t, s)+"/small"), "a small file")
		})
		url := f.url(t, s) + "/small"
		var out string
		f.went(t, f.client, s, way{HTTP: 1, Requests: 3}, func() { out = f.run(t, f.client, "wget", "-qO-", url, url, url) })
		mustContain(t, out, "a small file\na small file\na small file\n")
		args := []string{"apt-helper", "-o", "APT::Sandbox::User=root", "download-file"}
		for i := range 8 {
			args = append(args, fmt.Sprintf("%s?%d", url, i), filepath.Join(f.dir, fmt.Sprint("apt", s.v6, i)))
		}
		f.went(t, f.client, s, way{HTTP: 1, Requests: 8, Failed: 1}, func() { f.run(t, f.client, args...) })
		if got := f.read(t, fmt.Sprint("apt", s.v6, 7)); got != "a small file\n" {
			t.Errorf("apt brought %q", got)
		}
	}
}

// forwardProxy: who dials a forward proxy on an undeclared port means it, with
// CONNECT and with absolute targets: both pass as they are.
func forwardProxy(t *testing.T, f *fixture) {
	f.nginx(t)
	conf := f.write(t, "tinyproxy.conf", fmt.Sprintf("Port %d\nTimeout 60\nLogLevel Error\n", proxyPort))
	f.serve(t, "tinyproxy", proxyPort, "tinyproxy", "-d", "-c", conf)
	for _, v6 := range []bool{false, true} {
		s := service{"proxy-any", v6}
		for _, url := range []string{"http://" + f.server.Addr4(nginxHTTP).String(), "https://" + f.server.Addr4(nginxTLS).String()} {
			var out string
			f.went(t, f.client, s, way{TCP: 1}, func() {
				out = f.run(t, f.client, "curl", "-sSk", "-x", f.url(t, s), url+"/small")
			})
			mustContain(t, out, "a small file")
		}
	}
}

// curlOddServers: a server of HTTP/1.0 that ends its answers by closing, and a port
// that nobody listens on.
func curlOddServers(t *testing.T, f *fixture) {
	f.write(t, "www/small", "a small file\n")
	f.serve(t, "python http.server", pyHTTP, "python3", "-m", "http.server", "--bind", "::", "--directory", filepath.Join(f.dir, "www"), fmt.Sprint(pyHTTP))
	for _, v6 := range []bool{false, true} {
		f.curl(t, service{"py-any", v6}, curlCase{"HTTP/1.0 server", "-i BASE/small BASE/small BASE/none", []string{"200 OK", "a small file", "404"}, way{HTTP: 1, Requests: 3}})
	}
}

// curlTLS: TLS and HTTP/2 to ports that declare nothing pass as bytes.
func curlTLS(t *testing.T, f *fixture) {
	f.nginx(t)
	for _, v6 := range []bool{false, true} {
		h2c, tls := service{"h2c-any", v6}, service{"tls-any", v6}
		f.curl(t, h2c, curlCase{"prior knowledge", "-i --http2-prior-knowledge BASE/small", []string{"HTTP/2 200", "a small file"}, way{TCP: 1}})
		secure := "https://" + f.addr(t, tls).String()
		for _, version := range []string{"--http1.1", "--http2", "--tlsv1.3"} {
			var out string
			f.went(t, f.client, tls, way{TCP: 1}, func() {
				out = f.run(t, f.client, "curl", "-sS", "-i", "-k", version, secure+"/small", secure+"/small")
			})
			mustContain(t, out, " 200", "a small file")
		}
	}
	s := service{"tls-any", false}
	var out string
	f.went(t, f.client, s, way{TCP: 1}, func() {
		out = f.run(t, f.client, "openssl", "s_client", "-brief", "-connect", f.addr(t, s).String(), "-servername", "site")
	})
	mustContain(t, out, "CONNECTION ESTABLISHED")
}

// h2load: many streams of HTTP/2 without TLS, and HTTP/1.1 with pipelining.
func h2load(t *testing.T, f *fixture) {
	f.nginx(t)
	h2c, any := service{"h2c-any", true}, service{"site-any", false}
	for _, c := range []struct {
		service service
		args    []string
		went    way
	}{
		{h2c, []string{"-n", "2000", "-c", "4", "-m", "20"}, way{TCP: 4}},
		{any, []string{"-n", "2000", "-c", "4", "--h1"}, way{HTTP: 4, Requests: 2000}},
	} {
		var out string
		f.went(t, f.client, c.service, c.went, func() {
			out = f.run(t, f.client, append(append([]string{"h2load"}, c.args...), f.url(t, c.service)+"/small")...)
		})
		mustContain(t, out, "2000 succeeded, 0 failed", "status codes: 2000 2xx")
	}
}

// wrk: its requests are counted by both sides.
func wrk(t *testing.T, f *fixture) {
	f.nginx(t)
	for _, s := range []service{{"site", false}, {"site-any", true}} {
		before := f.metrics(t)
		out := f.run(t, f.client, "wrk", "-t1", "-c16", "-d1s", f.url(t, s)+"/small")
		if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
			t.Errorf("wrk to %v had errors:\n%s", s, out)
		}
		var did float64
		for _, line := range strings.Split(out, "\n") {
			_, _ = fmt.Sscanf(line, "%f requests in", &did)
		}
		if did < 100 {
			t.Errorf("wrk to %v did %v requests in a second:\n%s", s, did, out)
		}
		f.wrkCounted(t, s, before, did)
	}
}

// wrkCounted: wrk cuts its connections off at the end, so the last request of each
// may be one that it did not count.
func (f *fixture) wrkCounted(t *testing.T, s service, before world.Metrics, did float64) {
	t.Helper()
	var requests, connections float64
	deadline := time.Now().Add(5 * time.Second)
	f.w.Wait("wrk to be counted", func() (bool, error) {
		m := f.metrics(t)
		requests = m.Sum("proxy_requests_total", "service", f.key(t, s)) - before.Sum("proxy_requests_total", "service", f.key(t, s))
		connections = m.Sum("culvert_capture_total", "reason", "to_proxy") - before.Sum("culvert_capture_total", "reason", "to_proxy")
		return requests >= did || time.Now().After(deadline), nil
	})
	if requests < did || requests > did+17 || connections < 16 || connections > 17 {
		t.Errorf("wrk to %v did %v requests over 16 connections; the proxy answered %v, the kernel redirected %v connections", s, did, requests, connections)
	}
}

// nginxClient: nginx in a pod forwards to a service. It is the captured one here:
// whoever asks it is not enrolled.
func nginxClient(t *testing.T, f *fixture) {
	f.echo(t)
	upload, hash := f.upload(t)
	declared, detected := service{"echo", false}, service{"echo-any", true}
	conf := fmt.Sprintf(frontConf, f.dir, f.addr(t, declared), f.addr(t, detected))
	f.serveIn(t, f.front, "nginx in front", nginxHTTP, "nginx", "-p", f.dir, "-c", f.write(t, "front.conf", conf))
	front := "http://" + f.front.Addr4(nginxHTTP).String()
	for _, c := range []struct {
		path string
		to   service
		went way
	}{
		{"/old/", detected, way{HTTP: 3, Requests: 3}},
		{"/kept/", declared, way{HTTP: 1, Requests: 3}},
		{"/stream/", declared, way{Requests: 3}}, // over the connection that /kept/ has left
	} {
		t.Run(strings.Trim(c.path, "/"), func(t *testing.T) {
			f.went(t, f.front, c.to, c.went, func() {
				for range 2 {
					mustContain(t, f.run(t, f.outsider, "curl", "-sS", front+c.path+"x?y"), `"url":"/x?y"`, `"method":"GET"`)
				}
				mustContain(t, f.run(t, f.outsider, "curl", "-sS", "-H", "Transfer-Encoding: chunked", "-T", upload, front+c.path+"up"), hash)
			})
		})
	}
}
