// Package reactor turns sockets into straight-line code: one epoll loop per core, pooled
// coroutines that read and write as if they blocked, timers, and a net.Conn over all of it.
//
// It owns descriptors, deadlines, coroutines and the turn of each loop. It must not know any
// protocol, policy or metric. Everything under proxy/ may call it.
//
// Goroutines. A loop and all that belongs to it (its conns, timers, signals, coroutines) are
// touched by that loop only: by code in a coroutine of the loop (started by Loop.Go), or by a
// callback "on the loop" (Handler.Ready, Timer.F, OnReset, Listen's accepted, functions given to
// Loop.Post, Config.Tick). The exceptions are marked ANY GOROUTINE: Loop.Post, Loop.ID, Loop.Conns
// and the methods of Group. Code on a loop never blocks: no channels, no contended mutexes, no
// files, no DNS. Slow work goes to a goroutine, which returns through Loop.Post.
//
// Waiting. In a coroutine, Read, Write, Writev, Connect, Sleep, Yield and Signal.Wait give the
// loop away until they can go on. On the loop itself there is nothing to give away: there Read and
// Write return what can be done at once, then syscall.EAGAIN.
//
// Threads. A loop waits in epoll_wait as an ordinary blocking system call, so the process wants
// GOMAXPROCS to be one more than the number of loops; the caller sets it. Loops are
// not locked to threads: in a forwarder at 8 and 64 connections locked ones took 3 to 5 % more CPU
// per request, and iter.Pull wants the same lock at every switch, which would rule out going on
// after a runtime.Goexit.
//
// Why coroutines by iter.Pull: a switch is direct, without the scheduler, so one loop keeps its
// sockets, its buffers and its caches. An idle connection is parked (Conn.Park) and then holds no
// coroutine, no stack and no buffer.
package reactor
