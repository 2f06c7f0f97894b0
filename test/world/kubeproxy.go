package world

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// syncKubeProxy writes the rules that make VIPs work without Culvert into the
// given pods. They sit in each pod's own namespace (output hook), so nothing is
// shared with the machine, and one broken pod breaks no other.
func (w *World) syncKubeProxy(pods ...*Pod) error {
	if !w.config.KubeProxy {
		return nil
	}
	w.mu.Lock()
	services := maps.Clone(w.services)
	w.mu.Unlock()
	rules := natTable("ip", services, func(s Service) netip.Addr { return s.VIP4 }, func(p *Pod) netip.Addr { return p.IP4 }) +
		natTable("ip6", services, func(s Service) netip.Addr { return s.VIP6 }, func(p *Pod) netip.Addr { return p.IP6 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, p := range pods {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := p.Do(cmd.Run); err != nil {
			return fmt.Errorf("write kube-proxy rules of %s: %w\n%s", p.Name, err, &out)
		}
	}
	return nil
}

// natTable replaces the whole table in one transaction: declare, delete,
// declare again with the rules.
func natTable(family string, services map[string]Service, vip func(Service) netip.Addr, ip func(*Pod) netip.Addr) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s kube-proxy\ndelete table %s kube-proxy\ntable %s kube-proxy {\n chain output {\n", family, family, family)
	b.WriteString("  type nat hook output priority -100; policy accept;\n")
	for _, key := range slices.Sorted(maps.Keys(services)) {
		s := services[key]
		for _, port := range s.Ports {
			var to []string
			for _, e := range s.usable() {
				to = append(to, fmt.Sprintf("%d : %s . %d", len(to), ip(e.Pod), port.target()))
			}
			match := fmt.Sprintf("  %s daddr %s tcp dport %d ", family, vip(s), port.Port)
			if len(to) == 0 {
				continue
			}
			fmt.Fprintf(&b, "%s dnat %s addr . port to numgen random mod %d map { %s }\n", match, family, len(to), strings.Join(to, ", "))
		}
	}
	b.WriteString(" }\n}\n")
	return b.String()
}

// usable are the endpoints that kube-proxy sends connections to: the ready ones,
// or, when there is none, those that serve while they terminate (KEP-1669).
func (s Service) usable() []Endpoint {
	var ready, serving []Endpoint
	for _, e := range s.Endpoints {
		switch {
		case !e.NotReady:
			ready = append(ready, e)
		case e.Serving:
			serving = append(serving, e)
		}
	}
	if len(ready) == 0 {
		return serving
	}
	return ready
}
