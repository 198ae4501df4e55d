/*
 * libpcap's side of bench/cbpf: runs programs (the numbers of `tcpdump -ddd`) with bpf_filter() over the packets of a
 * pcap file in memory, and prints the lowest nanoseconds a packet of several rounds and the number of matches.
 *
 *     cc -O2 libpcap.c -lpcap -o libpcap && ./libpcap packets.pcap repeat rounds program...
 */
#define _GNU_SOURCE
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	char error[PCAP_ERRBUF_SIZE];
	const unsigned char *bytes;
	struct pcap_pkthdr *header;
	size_t count = 0, used = 0, room = 1 << 20, rows = 1 << 16;
	unsigned char *data = malloc(room);
	size_t *offset = malloc(rows * sizeof *offset);
	unsigned *length = malloc(rows * sizeof *length);
	pcap_t *file;
	long packets = atol(argv[2]);
	int rounds = atoi(argv[3]);

	file = pcap_open_offline(argv[1], error);
	if (!file)
		return 1;
	while (pcap_next_ex(file, &header, &bytes) == 1) {
		if (used + header->caplen > room)
			data = realloc(data, room = 2 * (used + header->caplen));
		if (count == rows) {
			rows *= 2;
			offset = realloc(offset, rows * sizeof *offset);
			length = realloc(length, rows * sizeof *length);
		}
		memcpy(data + used, bytes, header->caplen);
		offset[count] = used;
		length[count++] = header->caplen;
		used += header->caplen;
	}
	for (int p = 4; p < argc; p++) {
		struct bpf_insn program[8192];
		FILE *text = fopen(argv[p], "r");
		int n;
		double best = 1e18;
		long matched = 0;

		if (!text || fscanf(text, "%d", &n) != 1 || n > 8192)
			return 1;
		for (int i = 0; i < n; i++) {
			unsigned code, jt, jf, k;

			if (fscanf(text, "%u %u %u %u", &code, &jt, &jf, &k) != 4)
				return 1;
			program[i] = (struct bpf_insn){ code, jt, jf, k };
		}
		fclose(text);
		for (int r = 0; r < rounds; r++) {
			double start = now(), spent;
			size_t i = 0;

			matched = 0;
			for (long done = 0; done < packets; done++) {
				matched += bpf_filter(program, data + offset[i], length[i], length[i]) != 0;
				if (++i == count)
					i = 0;
			}
			spent = (now() - start) / packets;
			if (spent < best)
				best = spent;
		}
		printf("%.2f %ld\n", best, matched);
	}
	return 0;
}
