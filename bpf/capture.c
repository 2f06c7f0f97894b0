//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Capture at connect time: six hooks on the cgroup that holds the pods. A
 * connect either passes untouched, has its destination rewritten, or is
 * refused; bpf/decide.h says which.
 */
#include "maps.h"
#include "decide.h"

char __license[] SEC("license") = "Dual BSD/GPL";

/* Set at load: bpf_set_retval came to these programs after 5.15. Without it a refusal is EPERM. */
const volatile __u32 can_set_retval = 0;

/*
 * Not atomic: where the kernel preempts a hook for another on the same CPU, one
 * of the two may not be counted. A locked add would cost every connect.
 */
static __always_inline void count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&reasons, &reason);
	if (n)
		(*n)++;
}

/* A failure is only cosmetic, so the connection goes on; it is counted. */
static __always_inline void remember(struct bpf_sock *sk, const struct address *dialled,
				     const struct workload *w, const struct decision *d)
{
	struct remembered *r = bpf_sk_storage_get(&origin_by_sock, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!r) {
		count(REASON_UNREMEMBERED);
		return;
	}
	r->origin = *dialled;
	r->rewritten = d->to;
	__builtin_memset(r->local, 0, sizeof(r->local));
	if (d->reason != REASON_TO_PROXY)
		return;
	if (!is_v4(dialled->addr)) {
		copy_addr(r->local, w->addr6);
	} else if (w->addr4) {
		r->local[2] = htonl(0xffff);
		r->local[3] = w->addr4;
	}
}

static __always_inline void ask_proxy(const struct address *dialled, const struct origin *o,
				      const struct workload *w, struct decision *d)
{
	__u32 index = w->generation % MAX_GENERATIONS;
	struct heartbeat *h = bpf_map_lookup_elem(&heartbeats, &index);
	int fresh = h && heartbeat_fresh(h, w->generation, bpf_ktime_get_ns());

	decide_proxy(dialled, o, w, fresh, d);
}

static __always_inline void ask_endpoint(const struct origin *o, struct decision *d)
{
	struct slot *s = 0;

	if (o->slots) {
		struct slot_key key = {
			.origin = o->id,
			.generation = o->generation,
			.index = slot_index(bpf_get_prandom_u32(), o->slots),
		};
		s = bpf_map_lookup_elem(&endpoints, &key);
	}
	decide_endpoint(s, bpf_get_prandom_u32(), d);
	if (d->act == ACT_REWRITE) {
		__u32 id = o->id;
		__u64 *n = bpf_map_lookup_elem(&balanced, &id);
		if (n)
			(*n)++;
	}
}

/*
 * Gather, look up, decide. Every early return passes untouched: not ours. What
 * comes to the end is rewritten, refused or passed as decide.h says.
 */
static __always_inline void connect_hook(struct bpf_sock_addr *ctx, const struct address *dialled,
					 struct decision *d)
{
	if (ctx->protocol != IPPROTO_TCP) {
		d->reason = REASON_NOT_TCP;
		return;
	}
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct workload *w = bpf_map_lookup_elem(&workloads, &cookie);
	if (!w) {
		d->reason = REASON_NOT_ENROLLED;
		return;
	}
	struct bpf_sock *sk = ctx->sk;
	if (!sk || sk->bound_dev_if) {
		/* Loopback is not reachable from it, and whoever binds wants that device. */
		d->reason = REASON_BOUND_DEVICE;
		return;
	}
	if (bpf_sk_storage_get(&own_sockets, sk, 0, 0)) {
		/* Before the origin: most of these dial endpoints, and are not to be taken for strangers. */
		d->reason = REASON_OWN_SOCKET;
		return;
	}
	struct origin *live = bpf_map_lookup_elem(&origins, dialled);
	if (!live) {
		d->reason = REASON_UNKNOWN_ORIGIN;
		return;
	}
	/* A copy at once: an element that Go replaces may be reused for another key while it is read. */
	struct origin o = *live;
	if (o.mode == MODE_RELEASED) {
		d->reason = REASON_UNKNOWN_ORIGIN;
		return;
	}
	if (o.mode == MODE_KERNEL)
		ask_endpoint(&o, d);
	else
		ask_proxy(dialled, &o, w, d);
	if (d->act == ACT_REWRITE)
		remember(sk, dialled, w, d);
}

/* The hook's return value. 0 refuses: with ECONNREFUSED where it can be said, else EPERM. */
static __always_inline int settle(const struct decision *d)
{
	count(d->reason);
	if (d->act != ACT_REFUSE)
		return 1;
	if (can_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return 0;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct address dialled = {
		.addr = {0, 0, htonl(0xffff), ctx->user_ip4},
		.port = (__be16)ctx->user_port,
	};
	struct decision d = {};

	connect_hook(ctx, &dialled, &d);
	if (d.act == ACT_REWRITE) {
		ctx->user_ip4 = d.to.addr[3];
		ctx->user_port = d.to.port;
	}
	return settle(&d);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct address dialled = {
		.addr = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]},
		.port = (__be16)ctx->user_port,
	};
	struct decision d = {};

	connect_hook(ctx, &dialled, &d);
	if (d.act == ACT_REWRITE) {
		ctx->user_ip6[0] = d.to.addr[0];
		ctx->user_ip6[1] = d.to.addr[1];
		ctx->user_ip6[2] = d.to.addr[2];
		ctx->user_ip6[3] = d.to.addr[3];
		ctx->user_port = d.to.port;
	}
	return settle(&d);
}

/*
 * The hooks from here on only name addresses. They return 1, the one verdict
 * that the kernel lets them have, and count nothing: no connection ends here.
 */
static __always_inline struct remembered *recall(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	return sk ? bpf_sk_storage_get(&origin_by_sock, sk, 0, 0) : 0;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct remembered *r = recall(ctx);
	struct address peer = {
		.addr = {0, 0, htonl(0xffff), ctx->user_ip4},
		.port = (__be16)ctx->user_port,
	};

	if (r && reveals_origin(r, &peer)) {
		ctx->user_ip4 = r->origin.addr[3];
		ctx->user_port = r->origin.port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct remembered *r = recall(ctx);
	struct address peer = {
		.addr = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]},
		.port = (__be16)ctx->user_port,
	};

	if (r && reveals_origin(r, &peer)) {
		ctx->user_ip6[0] = r->origin.addr[0];
		ctx->user_ip6[1] = r->origin.addr[1];
		ctx->user_ip6[2] = r->origin.addr[2];
		ctx->user_ip6[3] = r->origin.addr[3];
		ctx->user_port = r->origin.port;
	}
	return 1;
}

SEC("cgroup/getsockname4")
int getsockname4(struct bpf_sock_addr *ctx)
{
	struct remembered *r = recall(ctx);
	if (!r)
		return 1;
	__be32 peer[4] = {0, 0, htonl(0xffff), ctx->sk->dst_ip4};
	__be32 local[4] = {0, 0, htonl(0xffff), ctx->user_ip4};

	if (reveals_local(r, peer, local))
		ctx->user_ip4 = r->local[3];
	return 1;
}

SEC("cgroup/getsockname6")
int getsockname6(struct bpf_sock_addr *ctx)
{
	struct remembered *r = recall(ctx);
	struct bpf_sock *sk = ctx->sk;
	if (!r || !sk)
		return 1;
	__be32 peer[4] = {sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2], sk->dst_ip6[3]};
	__be32 local[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

	if (reveals_local(r, peer, local)) {
		ctx->user_ip6[0] = r->local[0];
		ctx->user_ip6[1] = r->local[1];
		ctx->user_ip6[2] = r->local[2];
		ctx->user_ip6[3] = r->local[3];
	}
	return 1;
}

/* For tests only; node/capture never loads it. The packet is ignored. */
SEC("tc")
int test_decide(void *skb __attribute__((unused)))
{
	__u32 zero = 0;
	struct question *q = bpf_map_lookup_elem(&questions, &zero);
	if (!q)
		return -1;

	__builtin_memset(&q->decision, 0, sizeof(q->decision));
	switch (q->ask) {
	case ASK_FRESH:
		q->yes = heartbeat_fresh(&q->heartbeat, q->workload.generation, q->now);
		return 0;
	case ASK_PROXY: {
		int fresh = heartbeat_fresh(&q->heartbeat, q->workload.generation, q->now);
		decide_proxy(&q->dialled, &q->origin, &q->workload, fresh, &q->decision);
		return 0;
	}
	case ASK_SLOT_INDEX:
		q->index = slot_index(q->random_slot, q->origin.slots);
		return 0;
	case ASK_ENDPOINT:
		decide_endpoint(q->origin.slots ? &q->slot : 0, q->random_half, &q->decision);
		return 0;
	case ASK_REVEAL:
		q->yes = reveals_origin(&q->remembered, &q->shown);
		return 0;
	case ASK_REVEAL_LOCAL:
		q->yes = reveals_local(&q->remembered, q->dialled.addr, q->shown.addr);
		return 0;
	}
	return -1;
}
