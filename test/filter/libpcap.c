/*
 * libpcap's compiler as an oracle: cc -o libpcap libpcap.c -lpcap -ldl. Arguments: the files of hosts, ethers and networks.
 * A line "DLT SNAPLEN NETMASK OPTIMISE LIVE EXPRESSION" of standard input is answered by a line "P n code jt jf k ..." or
 * "E message". Names are looked up in the files alone. LIVE 1 asks for the code of a Linux socket with VLAN tags beside the
 * frame, which no function of libpcap turns on: the bit lies at a known place of 1.10.3's handle, and only there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <net/ethernet.h>
#include <netinet/ether.h>
#include <arpa/inet.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_1_10_3 0xb4

static const char *files[3];

/* The n-th line of a file that names `name`: its other word. */
static int look(const char *file, int key, const char *name, int skip, char *out)
{
	char line[512], a[256], b[256];
	FILE *in = fopen(file, "r");
	int found = 0;

	while (!found && in && fgets(line, sizeof line, in))
		if (sscanf(line, "%255s %255s", a, b) == 2 && !strcmp(key ? b : a, name) && skip-- == 0) {
			strcpy(out, key ? a : b);
			found = 1;
		}
	if (in)
		fclose(in);
	return found;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	struct addrinfo *first = NULL, **tail = &first;
	char text[256];
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (node == NULL) {
		real = dlsym(RTLD_NEXT, "getaddrinfo");
		return real(node, service, hints, res);
	}
	if (inet_pton(AF_INET6, node, text) == 1)
		strcpy(text, node);
	else if (!look(files[0], 1, node, 0, text))
		return EAI_NONAME;
	for (int i = 0; i == 0 || look(files[0], 1, node, i, text); i++) {
		struct { struct addrinfo info; union { struct sockaddr_in v4; struct sockaddr_in6 v6; } to; } *entry;
		int v6 = strchr(text, ':') != NULL;

		entry = calloc(1, sizeof *entry);
		entry->info.ai_family = v6 ? AF_INET6 : AF_INET;
		entry->info.ai_addr = (struct sockaddr *)&entry->to;
		entry->to.v4.sin_family = entry->info.ai_family;
		inet_pton(entry->info.ai_family, text,
			v6 ? (void *)&entry->to.v6.sin6_addr : (void *)&entry->to.v4.sin_addr);
		*tail = &entry->info;
		tail = &entry->info.ai_next;
	}
	*res = first;
	return 0;
}

void freeaddrinfo(struct addrinfo *res)
{
	(void)res; /* A few bytes a name; the process is short-lived. */
}

int ether_hostton(const char *name, struct ether_addr *addr)
{
	char text[256];

	return look(files[1], 1, name, 0, text) && ether_aton_r(text, addr) ? 0 : -1;
}

int getnetbyname_r(const char *name, struct netent *ret, char *buf, size_t size, struct netent **result, int *error)
{
	char text[256];
	(void)buf, (void)size, (void)error;

	*result = NULL;
	if (!look(files[2], 0, name, 0, text))
		return 0;
	memset(ret, 0, sizeof *ret);
	ret->n_net = inet_network(text);
	*result = ret;
	return 0;
}

int main(int argc, char **argv)
{
	static char line[1 << 22];
	int flags = strstr(pcap_lib_version(), "1.10.3") != NULL && sizeof(void *) == 8;

	if (argc != 4)
		return 2;
	for (int i = 0; i < 3; i++)
		files[i] = argv[i + 1];
	while (fgets(line, sizeof line, stdin)) {
		int dlt, optimise, live, at = 0;
		unsigned snaplen, netmask;
		struct bpf_program program;
		pcap_t *handle;

		if (sscanf(line, "%d %u %u %d %d%n", &dlt, &snaplen, &netmask, &optimise, &live, &at) < 5)
			return 1;
		line[strcspn(line, "\n")] = 0;
		handle = pcap_open_dead(dlt, snaplen);
		if (live && flags)
			*(int *)((char *)handle + FLAGS_1_10_3) |= 1;
		if (pcap_compile(handle, &program, line + at + 1, optimise, netmask) < 0) {
			printf("E %s\n", pcap_geterr(handle));
		} else {
			printf("P %u", program.bf_len);
			for (unsigned i = 0; i < program.bf_len; i++)
				printf(" %u %u %u %u", program.bf_insns[i].code, program.bf_insns[i].jt,
					program.bf_insns[i].jf, program.bf_insns[i].k);
			printf("\n");
			pcap_freecode(&program);
		}
		pcap_close(handle);
	}
	return 0;
}
