package model

import "strings"

// Protocol is what a port is declared to speak.
type Protocol uint8

const (
	// Detect: nothing is declared; the first bytes decide.
	Detect Protocol = iota
	// HTTP is cleartext HTTP/1.1.
	HTTP
	// Opaque is any other TCP, balanced in the kernel.
	Opaque
)

// String is the word in dumps.
func (p Protocol) String() string {
	return [...]string{"detect", "http", "opaque"}[p]
}

// DeclaredProtocol reads a Service port's appProtocol, or, where that is empty,
// its name: a protocol's name, alone or before a "-" ("redis", "http-admin").
//
// An appProtocol that we do not know says that the port speaks something of its
// own, so it is Opaque; a name that we do not know says nothing, so it is Detect.
// HTTP/2 in any dress (grpc, http2, h2c) is Opaque because the proxy speaks
// HTTP/1.1 only: balanced by connection, never broken.
func DeclaredProtocol(appProtocol, portName string) Protocol {
	if appProtocol != "" {
		switch strings.ToLower(appProtocol) {
		case "http", "http1", "kubernetes.io/ws":
			return HTTP
		}
		return Opaque
	}
	word, _, _ := strings.Cut(strings.ToLower(portName), "-")
	switch word {
	case "http", "http1", "ws":
		return HTTP
	case "tcp", "tls", "https", "wss", "ssl",
		"grpc", "grpcs", "http2", "h2c", "h2",
		"redis", "memcached", "mysql", "mariadb", "postgres", "postgresql", "pgsql", "mongo", "mongodb",
		"kafka", "amqp", "amqps", "mqtt", "nats", "cassandra", "zookeeper",
		"smtp", "smtps", "imap", "imaps", "pop3", "ftp", "ssh", "ldap", "ldaps", "dns":
		return Opaque
	}
	return Detect
}
