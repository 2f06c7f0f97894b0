package table

import (
	"cmp"
	"errors"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Build checks a whole configuration and compiles it. The error joins one
// *FieldError per fault (see Faults); with an error there is no snapshot, so
// the one that is live stays as it is. It may be called from any goroutine
// but a loop's: it takes milliseconds for thousands of services.
func Build(in Input) (*Snapshot, error) {
	b := builder{
		snapshot: &Snapshot{Version: in.Version},
		backends: make(map[string]*Backend, len(in.Backends)),
	}
	b.faults.regexps = map[string]*regexp.Regexp{}
	if in.Before != nil {
		b.faults.before = in.Before.regexps
	}
	b.snapshot.regexps = b.faults.regexps
	b.addBackends(in.Backends)
	b.addServices(in.Services)
	if len(b.faults.list) > 0 {
		return nil, errors.Join(b.faults.list...)
	}
	return b.snapshot, nil
}

// builder holds one Build.
type builder struct {
	faults   faults
	snapshot *Snapshot
	backends map[string]*Backend
}

func (b *builder) addBackends(in []BackendInput) {
	s := b.snapshot
	s.Backends = make([]*Backend, 0, len(in))
	for i := range in {
		where := at{to: &b.faults, kind: "backend", name: in[i].Name}
		if _, twice := b.backends[in[i].Name]; twice {
			where.in("name").fault("is used by two backends")
			continue
		}
		checkName(where, in[i].Name)
		backend := compileBackend(where, &in[i])
		b.backends[backend.Name] = backend
		s.Backends = append(s.Backends, backend)
	}
	slices.SortFunc(s.Backends, func(x, y *Backend) int { return cmp.Compare(x.Name, y.Name) })
	for i, backend := range s.Backends {
		backend.Index = i
	}
}

func (b *builder) addServices(in []ServiceInput) {
	s := b.snapshot
	s.Services = make([]*Service, 0, len(in))
	s.byOrigin = make(map[netip.AddrPort]*Service, len(in))
	names := make(map[string]bool, len(in))
	for i := range in {
		where := at{to: &b.faults, kind: "service", name: in[i].Name}
		if names[in[i].Name] {
			where.in("name").fault("is used by two services")
			continue
		}
		names[in[i].Name] = true
		checkName(where, in[i].Name)
		service := b.compileService(where, &in[i])
		b.addOrigins(where, service)
		s.Services = append(s.Services, service)
	}
	slices.SortFunc(s.Services, func(x, y *Service) int { return cmp.Compare(x.Name, y.Name) })
	for i, service := range s.Services {
		service.Index = i
	}
}

func (b *builder) addOrigins(where at, service *Service) {
	for _, origin := range service.Origins {
		if reason := addressFault(origin); reason != "" {
			where.in("origins").fault("%s %s", origin, reason)
			continue
		}
		if other := b.snapshot.byOrigin[origin]; other != nil {
			where.in("origins").fault("%s belongs to service %s already", origin, other.Name)
			continue
		}
		b.snapshot.byOrigin[origin] = service
	}
}

func (b *builder) compileService(where at, in *ServiceInput) *Service {
	s := &Service{
		Name:     in.Name,
		Origins:  make([]netip.AddrPort, len(in.Origins)),
		Protocol: in.Protocol,
		Stance:   in.Stance,
	}
	if namespace, _, ok := strings.Cut(in.Name, "/"); ok {
		s.Namespace = namespace
	}
	for i, origin := range in.Origins {
		s.Origins[i] = plain(origin)
	}
	slices.SortFunc(s.Origins, netip.AddrPort.Compare)
	if in.Protocol > TCP {
		where.in("protocol").fault("is %d, which is not a protocol", in.Protocol)
	}
	if in.Stance > Closed {
		where.in("stance").fault("is %d, which is not a stance", in.Stance)
	}
	s.Backend = b.backends[in.Backend]
	if s.Backend == nil && (in.Backend != "" || in.Rules == nil) {
		where.in("backend").fault("%q is not among the backends", in.Backend)
	}
	if in.Rules == nil {
		s.Default = defaultRule(s.Backend)
		return s
	}
	if in.Protocol == Opaque || in.Protocol == TCP {
		where.in("rules").fault("cannot be applied: the port's protocol has no requests")
	}
	s.Rules = make([]*Rule, len(in.Rules))
	for i := range in.Rules {
		s.Rules[i] = b.compileRule(where.item("rules", i), &in.Rules[i])
	}
	s.Paths = newPathIndex(s.Rules)
	return s
}

// defaultRule is the rule of a service that no route is attached to.
func defaultRule(backend *Backend) *Rule {
	if backend == nil {
		return nil
	}
	return &Rule{Name: "default", Action: Action{Forward: &Forward{
		Shares: []Share{{Backend: backend, Name: backend.Name, Weight: 1, below: 1}},
		Retry:  defaultRetry(),
		total:  1,
	}}}
}

// scale maps random, uniform over 64 bits, to [0, n) without a division. The
// bias is below n/2^64.
func scale(random, n uint64) uint64 {
	high, _ := bits.Mul64(random, n)
	return high
}
