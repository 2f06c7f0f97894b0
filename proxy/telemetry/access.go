package telemetry

import (
	"log/slog"
	"net/netip"
	"time"
)

// logRequest queues the access line of one request. It allocates: debug logging is
// for finding faults, not for production load.
func (r *Recorder) logRequest(rep *Report) {
	attrs := []slog.Attr{
		slog.String("source", rep.Conn.Source.Label),
		slog.String("service", rep.Service.Name),
		slog.String("method", string(rep.Method)),
		slog.String("path", string(rep.Path)),
		slog.Int("status", rep.Status),
		slog.String("reason", rep.Reason.String()),
		slog.Duration("duration", time.Duration(rep.End-rep.Start)),
		slog.Int("attempts", rep.Attempts),
		slog.Int64("bytes_in", rep.BytesIn),
		slog.Int64("bytes_out", rep.BytesOut),
	}
	if rep.Rule != nil {
		attrs = append(attrs, slog.String("route", rep.Rule.Name))
	}
	if rep.Backend != nil {
		attrs = append(attrs, slog.String("backend", rep.Backend.Name))
	}
	attrs = appendEndpoint(attrs, rep.Endpoint)
	r.lines.put(slog.LevelDebug, "request", attrs...)
}

// logConn queues the line of one connection.
func (r *Recorder) logConn(c *ConnReport) {
	attrs := []slog.Attr{
		slog.String("source", c.Source.Label),
		slog.String("origin", c.Origin.String()),
		slog.Bool("http", c.HTTP),
		slog.String("reason", c.Reason.String()),
		slog.Duration("duration", time.Duration(c.End-c.Start)),
		slog.Int("requests", c.Requests),
		slog.Int64("bytes_in", c.BytesIn),
		slog.Int64("bytes_out", c.BytesOut),
	}
	if c.Detour != None {
		attrs = append(attrs, slog.String("detour", c.Detour.String()))
	}
	if c.Service != nil {
		attrs = append(attrs, slog.String("service", c.Service.Name))
	}
	if c.Backend != nil {
		attrs = append(attrs, slog.String("backend", c.Backend.Name))
	}
	attrs = appendEndpoint(attrs, c.Endpoint)
	r.lines.put(slog.LevelDebug, "connection", attrs...)
}

func appendEndpoint(attrs []slog.Attr, endpoint netip.AddrPort) []slog.Attr {
	if !endpoint.IsValid() {
		return attrs
	}
	return append(attrs, slog.String("endpoint", endpoint.String()))
}
