"""Asks Linux whether it takes classic programs, through SO_ATTACH_FILTER on a socket of our own that nothing uses.

Standard input: one program a line, as a JSON list of [code, jt, jf, k]. Standard output: 0 or the errno, one a line.
"""
import ctypes, json, socket, struct, sys

SO_ATTACH_FILTER = 26

for line in sys.stdin:
    program = json.loads(line)
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, max(len(code), 1))
    try:
        own.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))
        print(0)
    except OSError as error:
        print(error.errno)
    own.close()
    other.close()
