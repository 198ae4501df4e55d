// build: classic.bpf.o -mcpu=v3
/*
 * The eight programs that BPF engines are usually compared by. Each gets the address and the length of a piece of
 * memory (bench/classic inputs are made by src/cli/bench/classic.ts) and returns a value that all engines must agree on.
 */
#include "program.h"

/* What remains is the cost of calling a program. */
PROGRAM(simple)
{
	return 0;
}

PROGRAM(memory_a_plus_b)
{
	const u32 *numbers = memory;

	return numbers[0] + numbers[1];
}

/* Integer logarithm by halving the distance; the length is the number of logarithms. */
static inline u32 log2_of(u32 value)
{
	u32 result, shift;

	result = (value > 0xffff) << 4;
	value >>= result;
	shift = (value > 0xff) << 3;
	value >>= shift;
	result |= shift;
	shift = (value > 0xf) << 2;
	value >>= shift;
	result |= shift;
	shift = (value > 0x3) << 1;
	value >>= shift;
	result |= shift;
	return result | (value >> 1);
}

PROGRAM(log2_int)
{
	u64 sum = 0;

	for (u32 i = 1; i <= length; i++)
		sum += log2_of(i * 2654435761u);
	return sum;
}

/* Trial division; the length is the bound. */
PROGRAM(primes)
{
	u32 bound = length;
	u64 count = 0;

	for (u32 number = 2; number < bound; number++) {
		u32 divisor = 2;

		for (; divisor * divisor <= number; divisor++)
			if (number % divisor == 0)
				break;
		count += divisor * divisor > number;
	}
	return count;
}

/* The first half of the memory to the second. */
PROGRAM(memcpy_bytes)
{
	const u8 *from = memory;
	u8 *to = (u8 *)memory + length / 2;

	for (u64 i = 0; i < length / 2; i++)
		to[i] = from[i];
	return to[length / 2 - 1];
}

/* Two strings, one in each half of the memory: the difference of the first bytes that differ. */
static inline u64 compare(const u8 *a, const u8 *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u64)*a - (u64)*b;
}

PROGRAM(strcmp_fail)
{
	return compare(memory, (u8 *)memory + length / 2);
}

PROGRAM(strcmp_full)
{
	return compare(memory, (u8 *)memory + length / 2);
}

/* A small machine of sixteen operations, the bytes of the memory being its program. */
PROGRAM(switch_bytes)
{
	const u8 *code = memory;
	u64 a = 1, b = 2;

	for (u64 i = 0; i < length; i++) {
		switch (code[i] & 15) {
		case 0: a += 3; break;
		case 1: a ^= b; break;
		case 2: b += a; break;
		case 3: a = a << 3 | a >> 61; break;
		case 4: b -= 7; break;
		case 5: a *= 5; break;
		case 6: b ^= 0x55; break;
		case 7: a -= b; break;
		case 8: b = a >> 7; break;
		case 9: a |= 0x100; break;
		case 10: b &= 0xffffffff; break;
		case 11: a = ~a; break;
		case 12: b *= 3; break;
		case 13: a += i; break;
		case 14: b ^= i; break;
		default: a ^= a >> 15; break;
		}
	}
	return a + b;
}
