/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every decision of the hooks, over plain structs and without a helper call,
 * so that test_decide can ask them in a test run: the kernel refuses test runs
 * of the hooks themselves.
 */
#pragma once

#include "types.h"

static __always_inline int is_v4(const __be32 addr[4])
{
	return addr[0] == 0 && addr[1] == 0 && addr[2] == htonl(0xffff);
}

static __always_inline int same_addr(const __be32 a[4], const __be32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline void copy_addr(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/*
 * Alive: this very generation, and every loop stamped lately. One stuck loop
 * makes the whole process away: the kernel spreads accepts over all of them.
 * The difference is signed because a stamp may be newer than now.
 */
static __always_inline int heartbeat_fresh(const struct heartbeat *h, __u32 generation, __u64 now)
{
	if (h->generation != generation || h->loops == 0)
		return 0;
	/*
	 * The limit is checked after the loop: before it, the compiler would drop
	 * the loop's own bound, which verifiers up to 6.1 need to see.
	 */
	for (__u32 i = 0; i < MAX_LOOPS; i++) {
		if (i >= h->loops)
			return 1;
		if ((__s64)(now - h->stamp[i]) >= (__s64)STALE_NS)
			return 0;
	}
	return h->loops == MAX_LOOPS;
}

/*
 * To the proxy's listener in the pod, the origin in the address. When nobody
 * is there: open passes untouched, closed refuses; that choice is the
 * service's, never the hook's.
 */
static __always_inline void decide_proxy(const struct address *dialled, const struct origin *o,
					 const struct workload *w, int fresh, struct decision *d)
{
	int v4 = is_v4(dialled->addr);
	__be16 port = v4 ? w->port4 : w->port6;

	if (!fresh || port == 0) {
		int closed = o->stance == STANCE_CLOSED;
		d->reason = closed ? REASON_AWAY_CLOSED : REASON_AWAY_OPEN;
		d->act = closed ? ACT_REFUSE : ACT_PASS;
		return;
	}
	d->reason = REASON_TO_PROXY;
	d->act = ACT_REWRITE;
	d->to.port = port;
	if (v4) {
		d->to.addr[2] = htonl(0xffff);
		d->to.addr[3] = htonl(ORIGIN_NET4 | o->id);
	} else {
		d->to.addr[0] = htonl(ORIGIN_NET6_0);
		d->to.addr[1] = htonl(ORIGIN_NET6_1);
		d->to.addr[3] = htonl(o->id);
	}
}

/* Multiply and shift: no division, and the bias is below 2^-14 for any table that fits. */
static __always_inline __u32 slot_index(__u32 random, __u32 slots)
{
	return ((__u64)random * slots) >> 32;
}

/* s is null when no endpoint is ready. Then refuse, as an address without listener does. */
static __always_inline void decide_endpoint(const struct slot *s, __u32 random, struct decision *d)
{
	if (!s) {
		d->reason = REASON_NO_ENDPOINT;
		d->act = ACT_REFUSE;
		return;
	}
	d->reason = REASON_TO_ENDPOINT;
	d->act = ACT_REWRITE;
	if (random < s->threshold) {
		copy_addr(d->to.addr, s->first);
		d->to.port = s->first_port;
	} else {
		copy_addr(d->to.addr, s->second);
		d->to.port = s->second_port;
	}
}

/*
 * Show the dialled origin only while the peer is the one that the hook wrote:
 * an application may connect the same socket again, elsewhere.
 */
static __always_inline int reveals_origin(const struct remembered *r, const struct address *peer)
{
	return r->rewritten.port == peer->port && same_addr(r->rewritten.addr, peer->addr);
}

/*
 * Show the pod's own address only for a socket that went to the proxy (peer
 * as above; its port is not readable alike on all kernels) and whose source
 * is loopback; a source that the application bound is left alone.
 */
static __always_inline int reveals_local(const struct remembered *r, const __be32 peer[4],
					 const __be32 local[4])
{
	if (r->local[3] == 0 && r->local[0] == 0)
		return 0;
	if (!same_addr(r->rewritten.addr, peer))
		return 0;
	if (is_v4(local))
		return (local[3] & htonl(0xff000000)) == htonl(0x7f000000);
	return local[0] == 0 && local[1] == 0 && local[2] == 0 && local[3] == htonl(1);
}
