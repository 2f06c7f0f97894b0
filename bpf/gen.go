package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Wextra -Werror -mcpu=v3" -type address -type origin -type workload -type heartbeat -type slot_key -type slot -type remembered -type question -type decision -type mode -type stance -type reason -type act -type ask capture capture.c -- -I./include
