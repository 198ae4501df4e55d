/*
 * libpcap's bpf_filter() as an oracle. Standard input, all numbers decimal: a line "n code jt jf k ..." sets the program, a
 * line "w LEN WIRE byte ..." runs it. Standard output: the value of each run.
 */
#include <pcap/pcap.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	static struct bpf_insn program[8192];
	static unsigned char packet[1 << 16];
	char kind[2];

	while (scanf("%1s", kind) == 1) {
		unsigned count, wire;

		if (scanf("%u", &count) != 1)
			return 1;
		if (kind[0] == 'p') {
			for (unsigned i = 0; i < count; i++) {
				unsigned code, jt, jf, k;

				if (scanf("%u %u %u %u", &code, &jt, &jf, &k) != 4)
					return 1;
				program[i] = (struct bpf_insn){ code, jt, jf, k };
			}
			continue;
		}
		if (scanf("%u", &wire) != 1)
			return 1;
		for (unsigned i = 0; i < count; i++) {
			unsigned byte;

			if (scanf("%u", &byte) != 1)
				return 1;
			packet[i] = byte;
		}
		printf("%u\n", bpf_filter(program, packet, wire, count));
	}
	return 0;
}
