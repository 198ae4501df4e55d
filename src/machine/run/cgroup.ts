/** Contexts of control groups: sockets, addresses, options, sysctls, devices. */
import { type ContextValues, contextTemplate } from "../../hooks/index.ts";
import { BpfError } from "../../errors.ts";
import { LEVELS, OPTIONS, optionNumber } from "../world/sockopt.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  formatEndpoint,
  formatIp,
  ipWords,
  networkPort,
  parseEndpoint,
  protocolNumber,
  socketType,
} from "./endpoint.ts";
import type { DeviceInput, SockoptInput } from "./input.ts";
import { address, between, bytesOf, decoded, placeSocket, setPointer, sockValues } from "./sockets.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

export const CGROUP_SOCK: Arranger = {
  takes: ["socket"],
  arrange(subject, { socket = {}, context }): Arrangement {
    return { context: contextTemplate(subject.hook, { ...sockValues(subject.name, socket), ...context }) };
  },
};

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const ADDR_SK = 64;

export const CGROUP_SOCK_ADDR: Arranger = {
  takes: ["address", "source", "socket"],
  arrange(subject, { address: text, source, socket = {}, context: given }): Arrangement {
    const what = `program '${subject.name}'`;
    const attach = subject.attach ?? "cgroup_inet4_connect";
    const family = attach.startsWith("cgroup_unix")
      ? AF_UNIX
      : /inet6|udp6/.test(attach)
        ? AF_INET6
        : AF_INET;
    const datagrams = /sendmsg|recvmsg/.test(attach) && family !== AF_UNIX;
    const values: ContextValues = {
      user_family: family,
      family,
      type: socketType(socket.type ?? (datagrams ? SOCK_DGRAM : SOCK_STREAM), `${what}: socket.type`),
      protocol:
        family === AF_UNIX
          ? 0
          : protocolNumber(
              socket.protocol ?? (datagrams ? IPPROTO_UDP : IPPROTO_TCP),
              `${what}: socket.protocol`,
            ),
      ...(text === undefined || family === AF_UNIX ? {} : addressValues(text, family, what)),
      ...(source === undefined ? {} : sourceValues(source, family, what)),
      ...given,
    };
    const context = contextTemplate(subject.hook, values);
    setPointer(context, ADDR_SK, placeSocket(subject, { family, ...socket }));
    return {
      context,
      result(after) {
        if (family === AF_UNIX) {
          const path = subject.state.unixPath;
          if (path !== undefined) return { address: unixName(path) };
          return text === undefined ? {} : { address: text };
        }
        const fields = decoded(subject, after);
        const words = (name: string): number[] => [fields[name] as number | number[]].flat();
        const four = family === AF_INET;
        return {
          address: formatEndpoint(words(four ? "user_ip4" : "user_ip6"), Number(fields["user_port"])),
          ...(/sendmsg/.test(attach)
            ? { source: formatIp(words(four ? "msg_src_ip4" : "msg_src_ip6")) }
            : {}),
        };
      },
    };
  },
};

/** A name that begins with a NUL is none of the file system: it is written with an @, as ss and /proc/net/unix do. */
function unixName(path: Uint8Array): string {
  const text = new TextDecoder().decode(path);
  if (text.startsWith("\0")) return `@${text.slice(1)}`;
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function ofFamily(text: string, family: number, what: string): ReturnType<typeof parseEndpoint> {
  const end = parseEndpoint(text, what);
  if ((end.ip.length === 4) !== (family === AF_INET)) {
    throw new BpfError("context", `${what}: '${text}' is no address of the program's family`);
  }
  return end;
}

function addressValues(text: string, family: number, what: string): ContextValues {
  const end = ofFamily(text, family, `${what}: address`);
  return { ...address(end, "user_ip4", "user_ip6"), user_port: networkPort(end.port) };
}

function sourceValues(text: string, family: number, what: string): ContextValues {
  const words = ipWords(ofFamily(text, family, `${what}: source`).ip);
  return family === AF_INET ? { msg_src_ip4: words[0] as number } : { msg_src_ip6: words };
}

// uapi/linux/bpf.h: BPF_DEVCG_DEV_ and BPF_DEVCG_ACC_.
const DEVICE_TYPES: Readonly<Record<string, number>> = { b: 1, block: 1, c: 2, char: 2 };
const DEVICE_ACCESS: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };

function parseDevice(subject: Subject, device: string | DeviceInput): ContextValues {
  const fail = (): BpfError =>
    new BpfError(
      "context",
      `program '${subject.name}': device '${typeof device === "string" ? device : JSON.stringify(device)}': such as "c 1:3 rw": b or c, numbers, letters of r, w and m`,
    );
  let parts: { type: string; major: number; minor: number; access: string };
  if (typeof device === "string") {
    const [, type = "", major, minor, access = ""] = /^(\w+) (\d+):(\d+) ([rwm]*)$/.exec(device) ?? [];
    if (major === undefined) throw fail();
    parts = { type, major: Number(major), minor: Number(minor), access };
  } else parts = device;
  const type = DEVICE_TYPES[parts.type];
  if (type === undefined) throw fail();
  let access = 0;
  for (const letter of parts.access) {
    const bit = DEVICE_ACCESS[letter];
    if (bit === undefined) throw fail();
    access |= bit;
  }
  return { access_type: type | (access << 16), major: parts.major, minor: parts.minor };
}

export const CGROUP_DEVICE: Arranger = {
  takes: ["device"],
  arrange(subject, { device, context }): Arrangement {
    const values = device === undefined ? {} : parseDevice(subject, device);
    return { context: contextTemplate(subject.hook, { ...values, ...context }) };
  },
};

/** A file of /proc/sys in the course of a run: what the helpers of sysctl programs ask and change. */
export interface SysctlState {
  /** "net/ipv4/ip_forward". */
  readonly name: string;
  /** What the file holds. */
  readonly value: string;
  /** What is being written, or what the program has put in its place; undefined if nothing is. */
  newValue: string | undefined;
  /** The program has put another value in place. */
  replaced: boolean;
}

export const CGROUP_SYSCTL: Arranger = {
  takes: ["sysctl"],
  arrange(subject, { sysctl, context }): Arrangement {
    const { name = "", value = "", write, position = 0 } = sysctl ?? {};
    const state: SysctlState = {
      name: name.includes("/") ? name : name.replaceAll(".", "/"),
      value,
      newValue: write,
      replaced: false,
    };
    subject.state.sysctl = state;
    return {
      context: contextTemplate(subject.hook, {
        write: write === undefined ? 0 : 1,
        file_pos: position,
        ...context,
      }),
      result: (after) => ({
        sysctl: {
          value: state.replaced && state.newValue !== undefined ? state.newValue : (write ?? value),
          position: Number(decoded(subject, after)["file_pos"]),
          newValue: state.replaced ? state.newValue : undefined,
        },
      }),
    };
  },
};

// Offsets of struct bpf_sockopt.
const OPT_SK = 0;
const OPT_VALUE = 8;
const OPT_VALUE_END = 16;

function optionBytes(value: SockoptInput["value"]): Uint8Array {
  if (typeof value !== "number") return bytesOf(value);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

export const CGROUP_SOCKOPT: Arranger = {
  takes: ["sockopt", "socket"],
  arrange(subject, { sockopt, socket = {}, context: given }): Arrangement {
    const what = `program '${subject.name}': sockopt`;
    const { level = 1, name = 0, value, ret = 0 } = sockopt ?? {};
    const bytes = optionBytes(value);
    const length = sockopt?.length ?? bytes.length;
    const context = contextTemplate(subject.hook, {
      level: optionNumber(LEVELS, level, `${what}.level`),
      optname: optionNumber(OPTIONS, name, `${what}.name`),
      optlen: length,
      retval: ret,
      ...given,
    });
    // The kernel's buffer is as long as optlen says, up to a page (sockopt_alloc_buf).
    const room = Math.min(4096, Math.max(bytes.length, length));
    const start = subject.scratch.room(room);
    subject.scratch.memory.write(start, bytes.subarray(0, room));
    setPointer(context, OPT_SK, placeSocket(subject, socket));
    setPointer(context, OPT_VALUE, start);
    setPointer(context, OPT_VALUE_END, start + room);
    return {
      context,
      result(after) {
        const fields = decoded(subject, after);
        const optlen = Number(fields["optlen"]);
        const all = between(subject, after, OPT_VALUE, OPT_VALUE_END);
        return {
          sockopt: {
            level: Number(fields["level"]),
            name: Number(fields["optname"]),
            length: optlen,
            value: all.subarray(0, Math.max(0, Math.min(optlen, all.length))),
            ret: Number(fields["retval"]),
          },
        };
      },
    };
  },
};
