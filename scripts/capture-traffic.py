#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The traffic of make-captures.sh: `serve READY` answers, every other word is a part that the client plays."""

import http.client
import http.server
import random
import socket
import struct
import sys
import threading
import time

SERVER4, SERVER6 = "10.0.0.2", "fd00::2"
RANDOM = random.Random(20)

NAMES = {
    "www.example.test": (SERVER4, SERVER6),
    "api.example.test": (SERVER4, SERVER6),
    "static.example.test": (SERVER4, None),
    "v6.example.test": (None, SERVER6),
}


# -- servers -------------------------------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self, size):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write((b"The hive is quiet. " * (size // 19 + 1))[:size])

    def do_GET(self):
        if self.path.startswith("/missing"):
            self.send_error(404)
        else:
            self.body(int(self.path.rsplit("/", 1)[-1]))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.body(64)

    def log_message(self, *_):
        pass


class Web(http.server.ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


class Web6(Web):
    address_family = socket.AF_INET6


def dns_name(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def dns_answer(query):
    end = query.index(b"\0", 12)
    parts, at = [], 12
    while at < end:
        parts.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack_from("!H", query, end + 1)[0]
    v4, v6 = NAMES.get(".".join(parts), (None, None))
    data = None
    if kind == 1 and v4:
        data = socket.inet_pton(socket.AF_INET, v4)
    elif kind == 28 and v6:
        data = socket.inet_pton(socket.AF_INET6, v6)
    elif kind == 16:
        text = b"v=spf1 -all " * 15
        data = bytes([len(text)]) + text
    code = 0 if ".".join(parts) in NAMES else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, 1 if data else 0, 0, 0)
    answer = struct.pack("!HHHIH", 0xC00C, kind, 1, 300, len(data)) + data if data else b""
    return head + query[12 : end + 5] + answer


def serve_dns(family, address):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    while True:
        query, peer = sock.recvfrom(2048)
        sock.sendto(dns_answer(query), peer)


def serve_sink(port):
    """Takes datagrams and says nothing, so that no port-unreachable answers them."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    while True:
        sock.recv(65535)


def serve_echo_tcp(port):
    sock = socket.create_server(("", port), backlog=16)
    while True:
        peer, _ = sock.accept()
        peer.settimeout(2)
        try:
            while data := peer.recv(4096):
                peer.sendall(data)
        except OSError:
            pass
        peer.close()


def serve(ready):
    jobs = [
        (serve_dns, (socket.AF_INET, SERVER4)),
        (serve_dns, (socket.AF_INET6, SERVER6)),
        (serve_echo_tcp, (23,)),
        *((serve_sink, (port,)) for port in (123, 1900, 5000, 5353)),
        *((Web((SERVER4, port), Page).serve_forever, ()) for port in (80, 8080, 8081)),
        (Web6((SERVER6, 80), Page).serve_forever, ()),
        (Web6((SERVER6, 8081), Page).serve_forever, ()),
    ]
    for target, args in jobs:
        threading.Thread(target=target, args=args, daemon=True).start()
    time.sleep(0.3)
    open(ready, "w").close()
    threading.Event().wait()


# -- the client's parts --------------------------------------------------------------------------------------------


def fetch(host, port, paths, source=None):
    source = source and (source, 0)
    conn = http.client.HTTPConnection(host, port, timeout=3, source_address=source)
    for path in paths:
        if path.startswith("post/"):
            conn.request("POST", "/form", body=b"bee=" + b"z" * int(path[5:]))
        else:
            conn.request("GET", "/" + path, headers={"User-Agent": "skep-example"})
        conn.getresponse().read()
    conn.close()


def pages(count):
    sizes = [0, 12, 80, 200, 350, 512, 900, 1400, 2600]
    out = []
    for _ in range(count):
        kind = RANDOM.random()
        if kind < 0.08:
            out.append("missing")
        elif kind < 0.2:
            out.append(f"post/{RANDOM.choice([10, 90, 700])}")
        else:
            out.append(f"page/{RANDOM.choice(sizes)}")
    return out


def http_part():
    for turn in range(64):
        fetch(SERVER4, 80, pages(1 + turn % 4))
        fetch(SERVER6, 80, pages(1 + turn % 3))
        if turn % 8 == 0:
            fetch(SERVER4, 8080, pages(2))
            dns_part(1)
        if turn % 16 == 0:
            fetch(SERVER4, 80, ["page/30000"])
            fetch(SERVER6, 80, ["page/20000"])


def dns_part(turns=24):
    for turn in range(turns):
        for name in (*NAMES, f"nosuch{turn}.example.test"):
            for kind in (1, 28) if turn % 6 else (1, 28, 16):
                query = struct.pack("!HHHHHH", RANDOM.randrange(65536), 0x0100, 1, 0, 0, 0)
                query += dns_name(name) + struct.pack("!HH", kind, 1)
                v6 = RANDOM.random() < 0.4
                sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
                sock.settimeout(2)
                sock.sendto(query, (SERVER6 if v6 else SERVER4, 53))
                sock.recv(2048)
                sock.close()


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(host, size, count=1, source=None, answered=True):
    v6 = ":" in host
    family, proto = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    sock = socket.socket(family, socket.SOCK_RAW, proto)
    sock.settimeout(2)
    if source:
        sock.bind((source, 0))
    for sequence in range(1, count + 1):
        head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0x5E9, sequence)
        body = bytes(i & 0xFF for i in range(size))
        total = 0 if v6 else checksum(head + body)  # the kernel fills in ICMPv6's
        sock.sendto(head[:2] + struct.pack("!H", total) + head[4:] + body, (host, 0))
        if answered:
            sock.recv(65535)
    sock.close()


def icmp_part():
    for host in (SERVER4, SERVER6):
        for size in (0, 1, 32, 56, 56, 56, 900, 957, 958, 959, 1100, 1400):
            ping(host, size, 3)
        ping(host, 3000, 2)  # fragmented


def datagrams(host, port, sizes, source=None, options=()):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for option in options:
        sock.setsockopt(*option)
    if source:
        sock.bind((source, 0))
    for size in sizes:
        sock.sendto(bytes(RANDOM.randrange(256) for _ in range(size)), (host, port))
    sock.close()


def blocked_part():
    # Ports: telnet, 8081 (both versions), SSDP.
    for text in (b"login: bee\r\n", b"password: honey\r\n"):
        with socket.create_connection((SERVER4, 23), timeout=2) as conn:
            conn.sendall(text)
            conn.recv(100)
    for host in (SERVER4, SERVER6):
        fetch(host, 8081, ["page/200", "page/900"])
    datagrams(SERVER4, 1900, [110, 110, 130])
    datagrams(SERVER6, 1900, [110])
    # Sources: the firewall's own table, then the ranges of firewall.maps.json.
    for source in ("203.0.113.7", "203.0.113.99", "198.51.100.66", "198.18.5.5"):
        fetch(SERVER4, 80, ["page/350", "page/80"], source)
        datagrams(SERVER4, 5000, [40, 400], source)
        ping(SERVER4, 56, 2, source)
    for source in ("2001:db8:bad::7", "2001:db8:f00d::7"):
        fetch(SERVER6, 80, ["page/350"], source)
        datagrams(SERVER6, 5000, [40, 400], source)
        ping(SERVER6, 56, 2, source)
    # A port that nobody listens on: reset in TCP, port unreachable in UDP.
    for host in (SERVER4, SERVER6):
        try:
            socket.create_connection((host, 4444), timeout=2)
        except OSError:
            pass
        datagrams(host, 4445, [20])
    datagrams(SERVER4, 5353, [60] * 4)


def headers_part():
    """IPv4 options, IPv6 extension headers, fragments, small TTLs, TOS."""
    ip, ip6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
    record_route = bytes([7, 7, 4, 0, 0, 0, 0, 0])
    padn8, padn16 = bytes([0, 0, 1, 4, 0, 0, 0, 0]), bytes([0, 1, 1, 12]) + bytes(12)
    datagrams(SERVER4, 5000, [30, 60], options=[(ip, socket.IP_OPTIONS, record_route)])
    datagrams(SERVER4, 1900, [30], options=[(ip, socket.IP_OPTIONS, record_route)])
    datagrams(SERVER4, 5000, [30, 30], options=[(ip, socket.IP_TTL, 1), (ip, socket.IP_TOS, 0xB8)])
    datagrams(SERVER4, 5000, [3000, 4500])
    datagrams(SERVER6, 5000, [3000])
    datagrams(SERVER6, 5000, [30, 61], options=[(ip6, socket.IPV6_HOPOPTS, padn8)])
    datagrams(SERVER6, 5000, [30], options=[(ip6, socket.IPV6_DSTOPTS, padn16)])
    both = [(ip6, socket.IPV6_HOPOPTS, padn16), (ip6, socket.IPV6_DSTOPTS, padn8)]
    datagrams(SERVER6, 5000, [30], options=both)
    datagrams(SERVER6, 1900, [30], options=both)


def udp4(source, destination, sport, dport, body):
    length = 8 + len(body)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 7, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination)))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    pseudo = head[12:20] + struct.pack("!HH", 17, length)
    udp = struct.pack("!HHH", sport, dport, length)
    return head + udp + struct.pack("!H", checksum(pseudo + udp + b"\0\0" + body) or 0xFFFF) + body


def frames_part():
    """What no socket sends: VLAN tags, protocols that are not IP, and broken headers, as raw Ethernet frames."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("veth0", 0))
    ends = bytes.fromhex("020000000002" "020000000001")
    good = udp4("10.0.0.1", SERVER4, 40000, 5000, b"tagged")
    bad = udp4("203.0.113.50", SERVER4, 40000, 5000, b"tagged, blocked")
    telnet = udp4("10.0.0.1", SERVER4, 40000, 1900, b"two tags, blocked")
    vlan = lambda tag, kind=0x8100: struct.pack("!HH", kind, tag)
    ip = b"\x08\x00"
    frames = [
        vlan(42) + ip + good,
        vlan(42) + ip + good,
        vlan(0x6001) + ip + bad,
        vlan(7, 0x88A8) + vlan(42) + ip + good,
        vlan(7, 0x88A8) + vlan(42) + ip + telnet,
        b"\x88\xcc" + bytes.fromhex("0207040200000000010403766574680602007800000000"),  # LLDP
        b"\x88\xb5" + b"local experiment",
        b"\x00\x26" + b"\xaa\xaa\x03" + bytes(35),  # 802.3 length field, SNAP
        ip + good[:12],  # cut in the IP header
        ip + b"\x44" + good[1:],  # header length 16
        ip + b"\x4f" + good[1:],  # header length 60, longer than the packet
        ip + b"\x65" + good[1:],  # version 6 in an IPv4 frame
        ip + good[:24],  # cut in the UDP header
        b"\x86\xdd" + b"\x60" + bytes(20),
        b"\x86\xdd" + b"\x60\0\0\0\0\x08\x00\x40" + bytes(32) + b"\x3b\xff" + bytes(6),  # options run past the end
        b"\x81\x00" + b"\0\x2a",  # a tag and nothing after it
    ]
    for frame in frames:
        sock.send(ends + frame)
    sock.close()


def client():
    ping(SERVER4, 56)
    ping(SERVER6, 56)
    dns_part(2)
    http_part()
    icmp_part()
    blocked_part()
    headers_part()
    frames_part()
    dns_part(2)


PARTS = {"client": client, "dns": dns_part, "icmp": icmp_part, "http": http_part}

if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "serve":
        serve(sys.argv[2])
    for word in sys.argv[1:]:
        PARTS[word]()
