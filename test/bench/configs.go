package main

import "fmt"

// The configurations are as fast as their authors say they can be: upstream
// connections kept alive and shared, a worker for each core, nothing logged, no
// limit on requests per connection, no body on disk.

// backendConfig is nginx as the backend of everybody.
func backendConfig(bodies string) string {
	return fmt.Sprintf(`daemon off;
worker_processes 2;
worker_rlimit_nofile 16384;
error_log stderr crit;
pid nginx.pid;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  server {
    listen %d reuseport backlog=4096;
    listen [::]:%d reuseport backlog=4096;
    root %s;
    location = /tiny { return 200 "ok"; }
    location = / { return 200 "ok"; }
  }
}
`, httpPort, httpPort, bodies)
}

// proxyConfig is nginx as the proxy.
func proxyConfig(to string) string {
	return fmt.Sprintf(`daemon off;
worker_processes %d;
worker_rlimit_nofile 16384;
error_log stderr crit;
pid nginx.pid;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_buffers 16 16k;
  proxy_buffer_size 16k;
  proxy_max_temp_file_size 0;
  upstream backend { server %s; keepalive 1024; keepalive_requests 1000000000; }
  server {
    listen %d reuseport backlog=4096;
    location / { proxy_pass http://backend; }
  }
}
`, workers(), to, httpPort)
}

// haproxyConfig is HAProxy as the proxy. Buffers of 64 KiB instead of 16 double
// its rate for large bodies and cost nothing for tiny ones (measured); splicing
// gains less.
func haproxyConfig(to string) string {
	return fmt.Sprintf(`global
  nbthread %d
  maxconn 8000
  tune.bufsize 65536
  tune.maxrewrite 1024
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend in
  bind :%d backlog 4096
  default_backend out
backend out
  server backend %s pool-max-conn -1
`, workers(), httpPort, to)
}

// webRoute puts every request through the matcher, with all timeouts and
// retries on.
const webRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
  namespace: default
spec:
  parentRefs:
  - {group: "", kind: Service, name: web}
  rules:
  - matches:
    - path: {type: Exact, value: /not-asked-for}
    backendRefs:
    - {name: web, port: 8080}
  - matches:
    - path: {type: PathPrefix, value: /}
    timeouts: {request: 10s, backendRequest: 5s}
    retry: {codes: [502, 503], attempts: 2, backoff: 25ms}
    backendRefs:
    - {name: web, port: 8080}
`
