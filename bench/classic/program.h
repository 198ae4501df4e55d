/* The classic programs are plain C: the same source is compiled for BPF and, with NATIVE, for the machine. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef NATIVE
#define PROGRAM(name) u64 name(void *memory, u64 length)
#else
#define PROGRAM(name) __attribute__((section("classic"), used)) u64 name(void *memory, u64 length)
#endif
