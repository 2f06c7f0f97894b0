package apps

import (
	"slices"

	"github.com/culvert-mesh/culvert/test/world"
)

// services are all Services of the world. A name that ends in "-any" declares no
// protocol: the proxy has to find out. The server pod listens on every target.
func services() []world.Service {
	one := func(name, portName string, port, target uint16) world.Service {
		return world.Service{Name: name, Ports: []world.Port{{Name: portName, Port: port, Target: target}}}
	}
	return []world.Service{
		one("site", "http", 80, nginxHTTP),
		one("site-any", "", 80, nginxHTTP),
		one("h2c-any", "", 80, nginxH2C),
		one("tls-any", "", 443, nginxTLS),
		one("echo", "http", 80, echoPort),
		one("echo-any", "", 80, echoPort),
		one("py-any", "", 8000, pyHTTP),
		one("redis", "redis", 6379, redisPort),
		one("redis-any", "", 6379, redisPort),
		one("postgres", "postgresql", 5432, postgresPort),
		one("postgres-any", "", 5432, postgresPort),
		one("greeter-any", "", 3306, greeterPort),
		one("tcp", "tcp", 7, quietPort),
		one("tcp-any", "", 7, quietPort),
		one("smtp-any", "", 25, smtpPort),
		one("ftp-any", "", 21, ftpPort),
		one("ssh-any", "", 22, sshPort),
		one("proxy-any", "", 3128, proxyPort),
		one("grpc", "grpc", 50051, grpcPort),
		one("grpc-any", "", 50051, grpcPort),
	}
}

// opaque says whether a service's port declares a protocol that the kernel balances.
func opaque(name string) bool {
	return slices.Contains([]string{"redis", "postgres", "tcp", "grpc"}, name)
}

// through is the way of n connections to a service whose protocol is not HTTP.
func through(s service, n float64) way {
	if opaque(s.name) {
		return way{Kernel: n}
	}
	return way{TCP: n}
}

const (
	nginxHTTP    = 8080
	nginxH2C     = 8082
	nginxTLS     = 8443
	echoPort     = 8090
	pyHTTP       = 8000
	redisPort    = 6379
	postgresPort = 5432
	greeterPort  = 9001
	quietPort    = 9002
	smtpPort     = 2525
	ftpPort      = 2121
	sshPort      = 2222
	proxyPort    = 8888
	grpcPort     = 50051
)
