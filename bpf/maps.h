/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * All maps. Each is pinned by node/capture and survives the process. Hash maps
 * are not preallocated: their limits are generous and mostly unused. No map of
 * maps: one update of those waits for RCU (~5 ms); generation numbers in flat
 * maps do the same job.
 */
#pragma once

#include "types.h"

/* netns cookie: the enrolled workloads. Written by Go only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct workload);
} workloads SEC(".maps");

/* The dialled address: what to do. Written by Go only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct origin);
} origins SEC(".maps");

/* Alias tables of the services whose endpoint the hook chooses. Written by Go only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct slot_key);
	__type(value, struct slot);
} endpoints SEC(".maps");

/* Origin id: connections that the hook balanced. Entries are made by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} balanced SEC(".maps");

/*
 * One entry per process generation (modulo), so that a new process starts
 * from no stamps while the old one's workloads are still judged by the old
 * one's. Mapped into the process: a beat is a store.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_GENERATIONS);
	__type(key, __u32);
	__type(value, struct heartbeat);
} heartbeats SEC(".maps");

/* enum reason: how often. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

/* On the application's socket; dies with it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __s32);
	__type(value, struct remembered);
} origin_by_sock SEC(".maps");

/*
 * Present on the proxy's own upstream sockets, which live in enrolled
 * namespaces and must not be captured again. Go sets it by descriptor before
 * connect. A pod cannot: it needs bpf(2) and this map. Rejected: SO_MARK (a
 * pod with CAP_NET_ADMIN, or CAP_NET_RAW since 5.17, sets any mark), the
 * process's cgroup (standalone mode shares it with its clients), the process
 * id (reused after a crash), a set of socket cookies (two more system calls,
 * and leaks when the process dies).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __s32);
	__type(value, __u32);
} own_sockets SEC(".maps");

/* What test_decide is asked and what it answers. Not made in production. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");
