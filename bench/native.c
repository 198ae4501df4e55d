/*
 * Runs one of the native programs and prints its result and the nanoseconds of CPU time that a run takes:
 *
 *     native PROGRAM MEMORY-FILE LENGTH RUNS
 *
 * src/cli/bench/native.ts writes programs.h, a row for each program, and compiles this file beside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long long (*program)(void *memory, unsigned long long length);

#define ROW(name) unsigned long long name(void *memory, unsigned long long length);
#include "programs.h"
#undef ROW

static const struct {
	const char *name;
	program run;
} programs[] = {
#define ROW(name) {#name, name},
#include "programs.h"
#undef ROW
};

int main(int count, char **arguments)
{
	unsigned long long length, runs, result = 0;
	/* Volatile, so that every run is a call. */
	program volatile run = NULL;
	struct timespec start, end;
	void *memory = NULL;
	long size;
	FILE *file;

	if (count != 5)
		return 2;
	for (unsigned i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (strcmp(programs[i].name, arguments[1]) == 0)
			run = programs[i].run;
	file = fopen(arguments[2], "rb");
	if (run == NULL || file == NULL)
		return 2;
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	/* A page, as the memory of the other side. */
	if (posix_memalign(&memory, 4096, size + 4096) != 0 || fread(memory, 1, size, file) != (size_t)size)
		return 2;
	length = strtoull(arguments[3], NULL, 10);
	runs = strtoull(arguments[4], NULL, 10);
	/* Pages, caches and branch predictors, as on the other side. */
	for (unsigned long long i = 0; i < runs / 4 + 1; i++)
		result = run(memory, length);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	for (unsigned long long i = 0; i < runs; i++)
		result = run(memory, length);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	printf("%llu %.4f\n", result & 0xffffffff,
	       ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / runs);
	return 0;
}
