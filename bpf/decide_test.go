package bpf

import (
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// decider asks decide.h itself, through the test program.
type decider struct {
	Program   *ebpf.Program `ebpf:"test_decide"`
	Questions *ebpf.Map     `ebpf:"questions"`
}

func newDecider(t testing.TB) *decider {
	t.Helper()
	needRoot(t)
	d := new(decider)
	if err := loadCaptureObjects(d, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { d.Program.Close(); d.Questions.Close() })
	return d
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("root is needed to load eBPF, and CI must have it")
	}
	t.Skip("needs root to load eBPF")
}

func (d *decider) ask(t testing.TB, q captureQuestion) captureQuestion {
	t.Helper()
	if err := d.Questions.Put(uint32(0), &q); err != nil {
		t.Fatal(err)
	}
	verdict, _, err := d.Program.Test(make([]byte, 14))
	if err != nil || verdict != 0 {
		t.Fatalf("run: verdict %d, %v", verdict, err)
	}
	if err := d.Questions.Lookup(uint32(0), &q); err != nil {
		t.Fatal(err)
	}
	return q
}

func address(s string) Address {
	if s == "" {
		return Address{}
	}
	return MakeAddress(netip.MustParseAddrPort(s))
}

const second = 1_000_000_000

func TestHeartbeatFresh(t *testing.T) {
	d := newDecider(t)
	const now = 1000 * second
	for _, tt := range []struct {
		name             string
		mine, generation uint32
		loops            uint32
		stamp0, stamp1   uint64
		want             uint32
	}{
		{"all stamped", 3, 3, 2, now, now - second/10, 1},
		{"one just in time", 3, 3, 2, now, now - second/5 + 1, 1},
		{"one just too late", 3, 3, 2, now, now - second/5, 0},
		{"one never", 3, 3, 2, now, 0, 0},
		{"a loop that is not there", 3, 3, 1, now, 0, 1},
		{"a stamp newer than now", 3, 3, 2, now + 500, now, 1},
		{"another generation", 3, 11, 2, now, now, 0},
		{"nobody", 3, 3, 0, now, now, 0},
		{"more loops than entries", 3, 3, uint32(MaxLoops) + 1, now, now, 0},
	} {
		q := captureQuestion{Ask: captureAskASK_FRESH, Now: now}
		q.Workload.Generation = tt.mine
		q.Heartbeat = Heartbeat{Generation: tt.generation, Loops: tt.loops}
		q.Heartbeat.Stamp[0], q.Heartbeat.Stamp[1] = tt.stamp0, tt.stamp1
		if got := d.ask(t, q).Yes; got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestDecideProxy(t *testing.T) {
	d := newDecider(t)
	both := Workload{Generation: 1, Port4: NetworkPort(4004), Port6: NetworkPort(6006)}
	only4 := Workload{Generation: 1, Port4: NetworkPort(4004)}
	for _, tt := range []struct {
		name, dialled string
		workload      Workload
		id            uint32
		stance        Stance
		loops         uint32 // 0: stale
		reason        Reason
		act           captureAct
		to            string
	}{
		{"IPv4", "10.1.2.3:80", both, 1, Closed, 1, captureReasonREASON_TO_PROXY, captureActACT_REWRITE, "127.64.0.1:4004"},
		{"IPv4, last id", "10.1.2.3:80", both, 1<<22 - 1, Open, 1, captureReasonREASON_TO_PROXY, captureActACT_REWRITE, "127.127.255.255:4004"},
		{"IPv6", "[2001:db8::1]:80", both, 0x1234, Open, 1, captureReasonREASON_TO_PROXY, captureActACT_REWRITE, "[fd63:756c:7665:7274::1234]:6006"},
		{"IPv6, last id", "[2001:db8::1]:80", both, 1<<22 - 1, Open, 1, captureReasonREASON_TO_PROXY, captureActACT_REWRITE, "[fd63:756c:7665:7274::3f:ffff]:6006"},
		{"IPv6, stale, open", "[2001:db8::1]:80", both, 1, Open, 0, captureReasonREASON_AWAY_OPEN, captureActACT_PASS, ""},
		{"IPv6, stale, closed", "[2001:db8::1]:80", both, 1, Closed, 0, captureReasonREASON_AWAY_CLOSED, captureActACT_REFUSE, ""},
		{"stale, open", "10.1.2.3:80", both, 1, Open, 0, captureReasonREASON_AWAY_OPEN, captureActACT_PASS, ""},
		{"stale, closed", "10.1.2.3:80", both, 1, Closed, 0, captureReasonREASON_AWAY_CLOSED, captureActACT_REFUSE, ""},
		{"no IPv6 listener, open", "[2001:db8::1]:80", only4, 1, Open, 1, captureReasonREASON_AWAY_OPEN, captureActACT_PASS, ""},
		{"no IPv6 listener, closed", "[2001:db8::1]:80", only4, 1, Closed, 1, captureReasonREASON_AWAY_CLOSED, captureActACT_REFUSE, ""},
	} {
		q := captureQuestion{Ask: captureAskASK_PROXY, Now: 7, Dialled: address(tt.dialled), Workload: tt.workload}
		q.Origin = Origin{Id: tt.id, Mode: Proxy, Stance: tt.stance}
		q.Heartbeat = Heartbeat{Generation: 1, Loops: tt.loops}
		q.Heartbeat.Stamp[0] = 7
		want := captureDecision{Reason: tt.reason, Act: tt.act, To: address(tt.to)}
		if got := d.ask(t, q).Decision; got != want {
			t.Errorf("%s: %+v, want %+v (%s)", tt.name, got, want, got.To.AddrPort())
		}
	}
}

func TestDecideEndpoint(t *testing.T) {
	d := newDecider(t)
	first, second := address("10.0.0.1:1"), address("10.0.0.2:2")
	slot := Slot{First: first.Addr, FirstPort: first.Port, Second: second.Addr, SecondPort: second.Port, Threshold: 1 << 30}
	for _, tt := range []struct {
		name   string
		slots  uint32
		random uint32
		reason Reason
		act    captureAct
		to     Address
	}{
		{"below the threshold", 1, 1<<30 - 1, captureReasonREASON_TO_ENDPOINT, captureActACT_REWRITE, first},
		{"at the threshold", 1, 1 << 30, captureReasonREASON_TO_ENDPOINT, captureActACT_REWRITE, second},
		{"none ready", 0, 0, captureReasonREASON_NO_ENDPOINT, captureActACT_REFUSE, Address{}},
	} {
		q := captureQuestion{Ask: captureAskASK_ENDPOINT, RandomHalf: tt.random, Slot: slot, Origin: Origin{Slots: tt.slots}}
		if got, want := d.ask(t, q).Decision, (captureDecision{Reason: tt.reason, Act: tt.act, To: tt.to}); got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
	for _, tt := range []struct{ random, slots, want uint32 }{
		{0, 5, 0}, {1<<32 - 1, 5, 4}, {1 << 31, 2, 1}, {1<<31 - 1, 2, 0}, {1<<32 - 1, 65536, 65535},
	} {
		q := captureQuestion{Ask: captureAskASK_SLOT_INDEX, RandomSlot: tt.random, Origin: Origin{Slots: tt.slots}}
		if got := d.ask(t, q).Index; got != tt.want {
			t.Errorf("slot of %#x in %d: %d, want %d", tt.random, tt.slots, got, tt.want)
		}
	}
}

func TestReveal(t *testing.T) {
	d := newDecider(t)
	for _, tt := range []struct {
		rewritten, shown string
		want             uint32
	}{
		{"127.64.0.1:4004", "127.64.0.1:4004", 1},
		{"127.64.0.1:4004", "127.64.0.1:4005", 0},
		{"127.64.0.1:4004", "127.64.0.2:4004", 0},
		{"127.64.0.1:4004", "[fd63:756c:7665:7274::1]:4004", 0},
		{"[fd63:756c:7665:7274::1]:4004", "[fd63:756c:7665:7274::1]:4004", 1},
		{"[fd63:756c:7665:7274::1]:4004", "[fd63:756c:7665:7274::1]:4005", 0},
		{"[fd63:756c:7665:7274::1]:4004", "[fd63:756c:7665:7274::2]:4004", 0},
		{"[fd63:756c:7665:7274::1]:4004", "127.64.0.1:4004", 0},
	} {
		q := captureQuestion{Ask: captureAskASK_REVEAL, Remembered: captureRemembered{Rewritten: address(tt.rewritten)}, Shown: address(tt.shown)}
		if got := d.ask(t, q).Yes; got != tt.want {
			t.Errorf("wrote %s, peer %s: %d, want %d", tt.rewritten, tt.shown, got, tt.want)
		}
	}
}

func TestRevealLocal(t *testing.T) {
	d := newDecider(t)
	pod4, pod6 := address("10.9.9.9:1").Addr, address("[2001:db8::9]:1").Addr
	for _, tt := range []struct {
		name                   string
		own                    [4]uint32
		rewritten, peer, local string
		want                   uint32
	}{
		{"IPv4", pod4, "127.64.0.1:1", "127.64.0.1:1", "127.0.0.1:9", 1},
		{"IPv4, bound source", pod4, "127.64.0.1:1", "127.64.0.1:1", "10.9.9.9:9", 0},
		{"IPv4, other peer", pod4, "127.64.0.1:1", "127.64.0.2:1", "127.0.0.1:9", 0},
		{"IPv6", pod6, "[fd63::1]:1", "[fd63::1]:1", "[::1]:9", 1},
		{"IPv6, bound source", pod6, "[fd63::1]:1", "[fd63::1]:1", "[2001:db8::9]:9", 0},
		{"IPv6, other peer", pod6, "[fd63::1]:1", "[fd63::2]:1", "[::1]:9", 0},
		{"unknown pod, IPv6", [4]uint32{}, "[fd63::1]:1", "[fd63::1]:1", "[::1]:9", 0},
		{"unknown pod", [4]uint32{}, "127.64.0.1:1", "127.64.0.1:1", "127.0.0.1:9", 0},
	} {
		q := captureQuestion{Ask: captureAskASK_REVEAL_LOCAL, Dialled: address(tt.peer), Shown: address(tt.local)}
		q.Remembered = captureRemembered{Rewritten: address(tt.rewritten), Local: tt.own}
		if got := d.ask(t, q).Yes; got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
