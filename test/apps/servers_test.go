package apps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// serve starts a server in the server pod, once for all stories, and waits until
// it listens on port.
func (f *fixture) serve(t *testing.T, name string, port uint16, args ...string) {
	t.Helper()
	f.serveIn(t, f.server, name, port, args...)
}

func (f *fixture) serveIn(t *testing.T, pod *world.Pod, name string, port uint16, args ...string) {
	t.Helper()
	if f.started[name] {
		return
	}
	process := f.w.Start(pod.Place, append([]string{find(t, args[0])}, args[1:]...)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		if err := process.Wait(ctx); ctx.Err() == nil {
			cancel(fmt.Errorf("%s ended: %v\n%s", name, err, process.Output()))
		}
	}()
	if err := pod.WaitListen(ctx, port); err != nil {
		t.Fatal(err)
	}
	f.started[name] = true
}

// bigBytes is the size of nginx's large file: far more than sockets buffer.
const bigBytes = 8 << 20

// nginx starts the web server: HTTP/1.1, HTTP/2 without TLS (prior knowledge) and
// TLS with both. It returns the hash of /big.
func (f *fixture) nginx(t *testing.T) (bigHash string) {
	t.Helper()
	big := make([]byte, bigBytes)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range big {
		big[i] = byte(rng.Uint32())
	}
	sum := sha256.Sum256(big)
	if f.started["nginx"] {
		return hex.EncodeToString(sum[:])
	}
	f.write(t, "www/big", string(big))
	f.write(t, "www/small", "a small file\n")
	f.certificate(t)
	f.serve(t, "nginx", nginxTLS, "nginx", "-p", f.dir, "-c", f.write(t, "nginx.conf", fmt.Sprintf(nginxConf, f.dir)))
	return hex.EncodeToString(sum[:])
}

// certificate makes a certificate that nobody has signed.
func (f *fixture) certificate(t *testing.T) {
	t.Helper()
	f.run(t, f.outsider, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", filepath.Join(f.dir, "tls.key"), "-out", filepath.Join(f.dir, "tls.crt"), "-days", "2", "-subj", "/CN=site")
}

// nginxConf has one parameter: the directory of all files.
const nginxConf = `
daemon off; user root; worker_processes 1; error_log stderr warn; pid %[1]s/nginx.pid;
events { worker_connections 512; }
http {
	access_log off; default_type text/plain; sendfile on; keepalive_requests 100000000;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen 8080; listen [::]:8080; root %[1]s/www; }
	server { listen 8082 http2; listen [::]:8082 http2; root %[1]s/www; }
	server { listen 8443 ssl http2; listen [::]:8443 ssl http2; root %[1]s/www;
		ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %[1]s/tls.crt; ssl_certificate_key %[1]s/tls.key; }
}
`

// frontConf is nginx as a client: it has the directory, and two URLs of services.
const frontConf = `
daemon off; user root; worker_processes 1; error_log stderr warn; pid %[1]s/front.pid;
events { worker_connections 512; }
http {
	access_log off; client_max_body_size 100m; client_body_temp_path %[1]s/fbody; proxy_temp_path %[1]s/fproxy; fastcgi_temp_path %[1]s/ffastcgi;
	uwsgi_temp_path %[1]s/fuwsgi; scgi_temp_path %[1]s/fscgi;
	upstream kept { server %[2]s; keepalive 4; }
	server {
		listen 8080;
		location /old/ { proxy_pass http://%[3]s/; }
		location /kept/ { proxy_pass http://kept/; proxy_http_version 1.1; proxy_set_header Connection ""; }
		location /stream/ { proxy_pass http://kept/; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_buffering off; proxy_request_buffering off; }
	}
}
`

// echo starts the Node server that says what it saw.
func (f *fixture) echo(t *testing.T) {
	t.Helper()
	f.serve(t, "echo", echoPort, "node", script(t, "server.mjs"), strconv.Itoa(echoPort))
}

func (f *fixture) redis(t *testing.T) {
	t.Helper()
	f.serve(t, "redis", redisPort, "redis-server", "--port", strconv.Itoa(redisPort), "--bind", "* -::*",
		"--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", f.dir)
}

// postgres makes a cluster and starts it. PostgreSQL refuses to run as root.
func (f *fixture) postgres(t *testing.T) {
	t.Helper()
	if f.started["postgres"] {
		return
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	data := filepath.Join(f.dir, "pgdata")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, uid, gid); err != nil {
		t.Fatal(err)
	}
	as := []string{"setpriv", "--reuid", owner.Uid, "--regid", owner.Gid, "--clear-groups", "--"}
	initdb := find(t, "initdb")
	f.run(t, f.server, slices.Concat(as, []string{initdb, "-D", data, "-A", "trust", "-U", "postgres", "--locale=C", "-E", "UTF8", "--no-sync", "--wal-segsize=1"})...)
	server := slices.Concat(as, []string{filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", strconv.Itoa(postgresPort)})
	for _, setting := range []string{"listen_addresses=*", "unix_socket_directories=", "fsync=off", "autovacuum=off", "shared_buffers=16MB", "max_wal_size=32MB"} {
		server = append(server, "-c", setting)
	}
	hosts := "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	f.serve(t, "postgres", postgresPort, server...)
}

// sshd starts the SSH server, which lets the returned key in.
func (f *fixture) sshd(t *testing.T) (key string) {
	t.Helper()
	// sshd insists on this empty directory, which Debian's service would make.
	const separation = "/run/sshd"
	if err := os.Mkdir(separation, 0o755); err == nil {
		t.Cleanup(func() { _ = os.Remove(separation) })
	}
	dir := filepath.Join(f.dir, "ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host", "user"} {
		f.run(t, f.server, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	conf := f.write(t, "ssh/sshd.conf", strings.Join([]string{
		"Port " + strconv.Itoa(sshPort), "HostKey " + dir + "/host", "AuthorizedKeysFile " + dir + "/user.pub",
		"UsePAM no", "StrictModes no", "PermitRootLogin yes", "PidFile none", "UseDNS no", "",
	}, "\n"))
	f.serve(t, "sshd", sshPort, "sshd", "-D", "-e", "-f", conf)
	return filepath.Join(dir, "user")
}

// ftpd starts an FTP server for anonymous readers, over IPv4. Its data connections
// go to the pod's own address.
func (f *fixture) ftpd(t *testing.T) {
	t.Helper()
	f.write(t, "ftp/file", strings.Repeat("served by ftp\n", 10000))
	f.write(t, "empty/none", "")
	conf := f.write(t, "vsftpd.conf", strings.Join([]string{
		"listen=YES", "listen_ipv6=NO", "listen_port=" + strconv.Itoa(ftpPort), "background=NO", "anonymous_enable=YES", "local_enable=NO",
		"anon_root=" + filepath.Join(f.dir, "ftp"), "secure_chroot_dir=" + filepath.Join(f.dir, "empty"),
		"pasv_address=" + f.server.IP4.String(), "seccomp_sandbox=NO", "isolate=NO", "isolate_network=NO", "xferlog_enable=NO", "",
	}, "\n"))
	f.serve(t, "vsftpd", ftpPort, "vsftpd", conf)
}
