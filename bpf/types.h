/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every struct and number that the kernel side shares with Go. bpf2go makes
 * the Go twins from BTF. Addresses are always 16 bytes in network order, IPv4
 * as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that one key and one code path
 * serve AF_INET, AF_INET6 and AF_INET6 sockets that dial an IPv4 address.
 */
#pragma once

#include "kernel.h"

/* Decisive numbers of the address plan; node/capture uses the same ones. */
#define ORIGIN_NET4 0x7f400000U /* 127.64.0.0/10 */
#define ORIGIN_ID_BITS 22
#define ORIGIN_NET6_0 0xfd63756cU /* fd63:756c:7665:7274::/64: RFC 4193, "culvert" */
#define ORIGIN_NET6_1 0x76657274U

#define STALE_NS 200000000ULL /* a loop whose stamp is older than this is away */
#define MAX_LOOPS 128
#define MAX_GENERATIONS 8

enum mode {
	MODE_RELEASED = 0, /* known, not redirected: keeps its id until nothing refers to it */
	MODE_PROXY = 1,
	MODE_KERNEL = 2,
};

enum stance {
	STANCE_OPEN = 0,
	STANCE_CLOSED = 1,
};

/* Why a connect left the hook. Each exit of the hook counts exactly one. */
enum reason {
	REASON_NOT_TCP = 0,
	REASON_NOT_ENROLLED = 1,
	REASON_BOUND_DEVICE = 2,
	REASON_UNKNOWN_ORIGIN = 3,
	REASON_OWN_SOCKET = 4,
	REASON_TO_PROXY = 5,
	REASON_AWAY_OPEN = 6,
	REASON_AWAY_CLOSED = 7,
	REASON_TO_ENDPOINT = 8,
	REASON_NO_ENDPOINT = 9,
	/* Not an exit: redirected, but getpeername will show the rewritten address. */
	REASON_UNREMEMBERED = 10,
	REASON_COUNT = 11,
};

/* What the hook does with the connect. */
enum act {
	ACT_PASS = 0,
	ACT_REWRITE = 1,
	ACT_REFUSE = 2,
};

struct address {
	__be32 addr[4];
	__be16 port;
	__u16 pad;
};
_Static_assert(sizeof(struct address) == 20, "address");

struct origin {
	__u32 id;          /* 1 to 2^22-1, unique among all entries */
	__u32 slots;       /* MODE_KERNEL: endpoint slots of this generation; 0: none ready */
	__u32 generation;  /* MODE_KERNEL: which slots */
	__u32 released_at; /* MODE_RELEASED: CLOCK_MONOTONIC seconds; kept by Go */
	enum mode mode;
	enum stance stance;
};
_Static_assert(sizeof(struct origin) == 24, "origin");

struct workload {
	__u32 id;
	__u32 generation; /* of the process that listens; chooses and checks the heartbeat */
	__be16 port4;     /* listeners on lo in the pod; 0: none for this family */
	__be16 port6;
	__be32 addr4;    /* the pod's own addresses, shown by getsockname; 0: unknown */
	__be32 addr6[4];
};
_Static_assert(sizeof(struct workload) == 32, "workload");

struct heartbeat {
	__u32 generation;
	__u32 loops; /* 0: nobody is there */
	__u64 stamp[MAX_LOOPS]; /* CLOCK_MONOTONIC ns; written by each loop through mmap */
};
_Static_assert(sizeof(struct heartbeat) == 8 + 8 * MAX_LOOPS, "heartbeat");

struct slot_key {
	__u32 origin; /* its id */
	__u32 generation;
	__u32 index;
};
_Static_assert(sizeof(struct slot_key) == 12, "slot_key");

/* One column of an alias table (Walker 1977, Vose 1991): both halves in one value, one lookup. */
struct slot {
	__be32 first[4];
	__be32 second[4];
	__be16 first_port;
	__be16 second_port;
	__u32 threshold; /* a random u32 below it takes first, else second */
};
_Static_assert(sizeof(struct slot) == 40, "slot");

/* Kept on the application's socket for getpeername and getsockname. */
struct remembered {
	struct address origin;  /* what the application dialled */
	struct address rewritten; /* what the kernel dialled instead */
	__be32 local[4];        /* shown instead of a loopback source address; 0: leave */
};
_Static_assert(sizeof(struct remembered) == 56, "remembered");

/* What decide.h answers. */
struct decision {
	enum reason reason;
	enum act act;
	struct address to;
};
_Static_assert(sizeof(struct decision) == 28, "decision");

enum ask {
	ASK_FRESH = 0,
	ASK_PROXY = 1,
	ASK_SLOT_INDEX = 2,
	ASK_ENDPOINT = 3,
	ASK_REVEAL = 4,
	ASK_REVEAL_LOCAL = 5,
};

/* One question to the test program, and its answer; never used in production. */
struct question {
	__u64 now;
	__u32 random_slot;
	__u32 random_half;
	struct address dialled;
	struct address shown; /* ASK_REVEAL: the peer that the kernel reports; ASK_REVEAL_LOCAL: the source */
	struct origin origin;
	struct workload workload;
	struct heartbeat heartbeat;
	struct slot slot;
	struct remembered remembered;
	enum ask ask;
	__u32 index; /* answer of ASK_SLOT_INDEX */
	struct decision decision;
	__u32 yes; /* answer of the others */
};
_Static_assert(sizeof(struct question) == 1280, "question");
