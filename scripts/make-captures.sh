#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the captures of examples/captures: two network namespaces joined by a veth pair, a client in one, servers in the
# other, tcpdump beside the servers. Nothing leaves the two namespaces, and both are removed at the end, whatever happens.
#
#     sudo scripts/make-captures.sh [FOLDER]      (default: examples/captures)
#
# Needs root, iproute2, ethtool, tcpdump, python3 and, for the pcapng copy, editcap (wireshark-common).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../examples/captures}
mkdir -p "$out"
out=$(cd "$out" && pwd)
client=skep-client-$$
server=skep-server-$$
work=$(mktemp -d)
pids=

cleanup() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	ip netns del "$client" 2>/dev/null || true
	ip netns del "$server" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ip netns add "$client"
ip netns add "$server"
ip -n "$client" link add veth0 address 02:00:00:00:00:01 type veth peer name veth1 address 02:00:00:00:00:02 netns "$server"

# Without these the kernel hands the tap packets longer than the MTU and with unfinished checksums.
for pair in "$client veth0" "$server veth1"; do
	set -- $pair
	ip netns exec "$1" ethtool -K "$2" tso off gso off gro off tx off rx off rxvlan off txvlan off >/dev/null 2>&1
	ip netns exec "$1" sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 2>/dev/null || true
	ip -n "$1" link set lo up
done

# The last five addresses of the client are the ones that the firewall example blocks, by its own rules or by its map file.
for address in 10.0.0.1/24 203.0.113.7/32 203.0.113.99/32 198.51.100.66/32 198.18.5.5/32; do
	ip -n "$client" addr add "$address" dev veth0
done
ip -n "$client" addr add fd00::1/64 dev veth0 nodad
ip -n "$client" addr add 2001:db8:bad::7/128 dev veth0 nodad
ip -n "$client" addr add 2001:db8:f00d::7/128 dev veth0 nodad
ip -n "$server" addr add 10.0.0.2/24 dev veth1
ip -n "$server" addr add fd00::2/64 dev veth1 nodad
ip -n "$client" link set veth0 up
ip -n "$server" link set veth1 up
for net in 203.0.113.0/24 198.51.100.0/24 198.18.0.0/15; do ip -n "$server" route add "$net" dev veth1; done
for net in 2001:db8:bad::/48 2001:db8:f00d::/48; do ip -n "$server" route add "$net" dev veth1; done
sleep 1

wait_for() { # FILE: until it exists, five seconds at most
	n=0
	while [ ! -e "$1" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
	[ -e "$1" ]
}

ip netns exec "$server" python3 "$here/capture-traffic.py" serve "$work/ready" &
pids="$pids $!"
wait_for "$work/ready"

record() { # NAME PART...: one capture of what the client does in those parts
	name=$1
	shift
	ip netns exec "$server" tcpdump -i veth1 -s 65535 -B 8192 --immediate-mode -U -w "$work/$name.pcap" 2>"$work/$name.log" &
	tap=$!
	pids="$pids $tap"
	n=0
	while ! grep -q 'listening on' "$work/$name.log" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
	ip netns exec "$client" python3 "$here/capture-traffic.py" "$@"
	sleep 0.5
	kill -INT "$tap"
	wait "$tap" || true
	grep -q '^0 packets dropped by kernel' "$work/$name.log" || { cat "$work/$name.log"; exit 1; }
	cp "$work/$name.pcap" "$out/$name.pcap"
	echo "$name.pcap: $(tcpdump --count -r "$out/$name.pcap" 2>/dev/null | cut -d" " -f1) packets, $(wc -c <"$out/$name.pcap") bytes"
}

record web client
record dns dns
record icmp icmp

if command -v editcap >/dev/null; then
	editcap -F pcapng "$out/dns.pcap" "$out/dns.pcapng"
	echo "dns.pcapng: $(wc -c <"$out/dns.pcapng") bytes"
fi
gzip -9nc "$out/icmp.pcap" >"$out/icmp.pcap.gz"
