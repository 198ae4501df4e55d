/** Policies and balancers of test/fixtures/tools: what they decide is derived from their sources by hand. */
import { describe, expect, it } from "vitest";
import { assertPacket, eth } from "../../../src/testing/index.ts";
import { load, tool, variants } from "./setup.ts";

const POLICIES = tool("policies");
const BALANCERS = tool("balancers");
const USER = { current: { pid: 42, uid: 1000 } };

const ip = (text: string): number =>
  new DataView(Uint8Array.from(text.split("."), Number).buffer).getUint32(0, true);

describe.each(variants())("policies, the kernel %s", (_, variant) => {
  it("files that only root opens", async () => {
    const { programs, maps, machine } = await load(POLICIES, variant, { world: USER });
    maps["secret"]!.set({ folder: "etc", name: "shadow" }, 1);
    const open = (folder: string, name: string): string => {
      const d_parent = machine.alloc("dentry", { d_name: { name: folder } });
      const dentry = machine.alloc("dentry", { d_name: { name }, d_parent });
      return programs["open_policy"]!.run({ args: [machine.alloc("file", { f_path: { dentry } })] })
        .returnName;
    };
    expect([open("etc", "shadow"), open("etc", "hosts"), open("tmp", "shadow")]).toEqual([
      "EACCES",
      "ALLOW",
      "ALLOW",
    ]);
    machine.world.setCurrent({ pid: 1, uid: 0 });
    expect(open("etc", "shadow")).toBe("ALLOW");
  });

  it("programs do not start from /tmp, and what was refused stays refused", async () => {
    const { programs, machine } = await load(POLICIES, variant);
    const start = (filename: string, ret = 0): string =>
      programs["exec_policy"]!.run({ args: [machine.alloc("linux_binprm", { filename })], ret }).returnName;
    expect([start("/bin/ls"), start("/tmp/x"), start("/tmpfile"), start("/bin/ls", -13)]).toEqual([
      "ALLOW",
      "EPERM",
      "ALLOW",
      "EACCES",
    ]);
  });

  it("no connections to a network", async () => {
    const variables = { blocked_network: ip("10.9.0.0"), blocked_mask: ip("255.255.0.0") };
    const { programs } = await load(POLICIES, variant, { variables });
    const connect = (family: number, to: string): string => {
      const address = new Uint8Array(8);
      new DataView(address.buffer).setUint16(0, family, true);
      new DataView(address.buffer).setUint32(4, ip(to), true);
      return programs["connect_policy"]!.run({ args: [null, address, 8] }).returnName;
    };
    expect([connect(2, "10.9.1.1"), connect(2, "10.8.1.1"), connect(1, "10.9.1.1")]).toEqual([
      "EPERM",
      "ALLOW",
      "ALLOW",
    ]);
  });

  it("priorities only go down", async () => {
    const { programs, machine } = await load(POLICIES, variant);
    const task = machine.alloc("task_struct", { prio: 125 });
    const nice = (value: number) => programs["nice_policy"]!.run({ args: [task, value] }).returnName;
    expect([nice(4), nice(5), nice(19), nice(-20)]).toEqual(["EPERM", "ALLOW", "ALLOW", "EPERM"]);
  });

  it("a service address leads to a backend, and its peer is the service", async () => {
    const { programs, maps } = await load(POLICIES, variant);
    maps["services"]!.set(
      { ip: ip("10.0.0.1"), port: 80, pad: 0 },
      { ip: ip("192.168.0.7"), port: 8080, pad: 0 },
    );
    const socket = { type: "stream", local: "192.168.0.1:40000" };
    const connect = (address: string, protocol = "tcp") =>
      programs["service_connect"]!.run({ address, socket: { ...socket, protocol } }).address;
    expect(connect("10.0.0.1:80")).toBe("192.168.0.7:8080");
    expect(connect("10.0.0.1:81")).toBe("10.0.0.1:81");
    expect(connect("10.0.0.1:80", "udp")).toBe("10.0.0.1:80");
    const peer = programs["service_peer"]!;
    expect(peer.run({ address: "192.168.0.7:8080", socket: { ...socket, protocol: "tcp" } }).address).toBe(
      "10.0.0.1:80",
    );
  });

  it("low ports are root's", async () => {
    const { programs, machine } = await load(POLICIES, variant, { world: USER });
    const bind = (address: string) => programs["bind_policy"]!.run({ address }).returnValue;
    expect(["0.0.0.0:80", "0.0.0.0:1024", "0.0.0.0:0"].map(bind)).toEqual([0, 1, 1]);
    machine.world.setCurrent({ pid: 1, uid: 0 });
    expect(bind("0.0.0.0:80")).toBe(1);
  });

  it("no raw sockets, marks for the others", async () => {
    const { programs } = await load(POLICIES, variant);
    const create = (type: string) => programs["socket_policy"]!.run({ socket: { type } });
    expect(create("raw")).toMatchObject({ returnValue: 0, context: { mark: 0 } });
    expect(create("dgram")).toMatchObject({ returnValue: 1, context: { mark: 0x1234, priority: 3 } });
  });

  it.each([
    ["c 1:3 rw", 1],
    ["c 1:8 r", 1],
    ["c 1:3 m", 0],
    ["c 1:1 r", 0],
    ["c 10:200 rw", 0],
    ["b 1:3 r", 0],
  ])("device %s", async (device, allowed) => {
    const { programs } = await load(POLICIES, variant);
    expect(programs["device_policy"]!.run({ device }).returnValue).toBe(allowed);
  });

  it("buffer limits of up to a megabyte", async () => {
    const { programs } = await load(POLICIES, variant);
    const write = (name: string, text?: string): number =>
      programs["sysctl_policy"]!.run({
        sysctl: { name, value: "4096", ...(text === undefined ? {} : { write: text }) },
      }).returnValue;
    expect(write("net/core/rmem_max")).toBe(1);
    expect(write("net/core/rmem_max", "1048576\n")).toBe(1);
    expect(write("net/core/rmem_max", "1048577\n")).toBe(0);
    expect(write("net/core/rmem_max", "lots\n")).toBe(0);
    expect(write("net/ipv4/ip_forward", "1\n")).toBe(0);
  });

  it("the type of service is the group's", async () => {
    const { programs } = await load(POLICIES, variant);
    const set = programs["tos_set"]!.run({ sockopt: { level: 0, name: 1, value: 0x10 } });
    expect(set).toMatchObject({ returnValue: 1, sockopt: { length: 1, value: Uint8Array.of(0x20) } });
    const other = programs["tos_set"]!.run({ sockopt: { level: 1, name: 8, value: 5 } });
    expect(other.sockopt).toMatchObject({ length: 4 });
    const get = programs["tos_get"]!.run({ sockopt: { level: 0, name: 1, value: 0x20, ret: 0 } });
    expect(get).toMatchObject({ returnValue: 1, sockopt: { length: 1, value: Uint8Array.of(0), ret: 0 } });
    // No buffer at all.
    expect(programs["tos_set"]!.run({ sockopt: { level: 0, name: 1 } }).returnValue).toBe(0);
  });

  it("bytes by port, and no mail", async () => {
    const { programs, maps } = await load(POLICIES, variant);
    const send = (sport: number, dport: number) =>
      programs["egress_policy"]!.run({ packet: eth().ipv4().tcp({ sport, dport }).payload(60).bytes() })
        .returnValue;
    expect([send(5000, 443), send(5000, 443), send(5001, 25)]).toEqual([1, 1, 0]);
    expect(programs["egress_policy"]!.run({ packet: eth().arp().bytes() }).returnValue).toBe(1);
    expect([...maps["sent"]!.entries()]).toEqual([[5000, 200n]]);
  });

  it("connections start fast", async () => {
    const world = { sockets: [{ protocol: "tcp" as const, local: "10.0.0.1:4000", remote: "10.0.0.2:80" }] };
    const { programs } = await load(POLICIES, variant, { world });
    const event = (op: string) =>
      programs["connection_policy"]!.run({ op, local: "10.0.0.1:4000", remote: "10.0.0.2:80" });
    expect(event("TIMEOUT_INIT").reply).toBe(10);
    expect(event("RWND_INIT").reply).toBe(40);
    expect(event("TCP_CONNECT_CB").reply).toBe(0);
    const established = event("ACTIVE_ESTABLISHED_CB");
    expect(established.context).toMatchObject({ bpf_sock_ops_cb_flags: 4 });
    expect(event("RTT_CB").reply).toBe(-1);
  });
});

describe.each(variants())("balancers, the kernel %s", (_, variant) => {
  const variables = {
    backend_count: 2,
    service_ip: ip("10.0.0.1"),
    tunnel_source: ip("172.16.0.1"),
  };
  const client = (sport: number) =>
    eth({ src: "02:00:00:00:00:0a", dst: "02:00:00:00:00:0b" })
      .ipv4({ src: "192.0.2.7", dst: "10.0.0.1" })
      .tcp({ sport, dport: 80 })
      .payload("hello");

  it("packets travel to a backend, always the same for a connection", async () => {
    const { programs, maps } = await load(BALANCERS, variant, { variables });
    maps["backends"]!.set(0, ip("10.1.0.1"));
    maps["backends"]!.set(1, ip("10.1.0.2"));
    const seen = new Set<string>();
    for (const sport of [1000, 1256, 1000, 1512, 1001, 1257]) {
      const run = programs["encapsulate"]!.run({ packet: client(sport).bytes() });
      expect(run.returnName).toBe("XDP_TX");
      const to = run.packet.slice(30, 34).join(".");
      seen.add(to);
      assertPacket(
        run.packet,
        eth({ src: "02:00:00:00:00:0b", dst: "02:00:00:00:00:0a" })
          .ipv4({ src: "172.16.0.1", dst: to, id: 0, flags: 0 })
          .ipv4({ src: "192.0.2.7", dst: "10.0.0.1" })
          .tcp({ sport, dport: 80 })
          .payload("hello"),
      );
    }
    expect(seen.size).toBeGreaterThan(1);
    expect(maps["flows"]).toMatchObject({ size: 5 });
    // The way back.
    const sent = programs["encapsulate"]!.run({ packet: client(1000).bytes() }).packet;
    const back = programs["decapsulate"]!.run({ packet: sent });
    expect(back.returnName).toBe("XDP_PASS");
    expect(Buffer.from(back.packet.slice(14)).equals(client(1000).bytes().slice(14))).toBe(true);
  });

  it("without a backend nothing goes on, other packets are left alone", async () => {
    const { programs } = await load(BALANCERS, variant, { variables });
    expect(programs["encapsulate"]!.run({ packet: client(1).bytes() }).returnName).toBe("XDP_DROP");
    const other = eth().ipv4({ dst: "10.0.0.2" }).tcp();
    const run = programs["encapsulate"]!.run({ packet: other.bytes() });
    expect(run.returnName).toBe("XDP_PASS");
    assertPacket(run.packet, other);
  });

  it("addresses are translated, checksums with them", async () => {
    const { programs, maps } = await load(BALANCERS, variant, {
      variables: { ...variables, backend_count: 1 },
    });
    maps["backends"]!.set(0, ip("10.1.0.9"));
    const packet = (dst: string) => eth().ipv4({ src: "192.0.2.7", dst }).udp({ dport: 53 }).payload("query");
    const run = programs["translate"]!.run({ packet: packet("10.0.0.1").bytes() });
    expect(run).toMatchObject({
      returnName: "TC_ACT_REDIRECT",
      context: { mark: 1 },
      redirect: { ifindex: 10 },
    });
    assertPacket(run.packet, packet("10.1.0.9"));
  });

  it("a range of ports is one socket's", async () => {
    const { programs, maps, machine } = await load(BALANCERS, variant);
    const socket = machine.world.sockets.add({ protocol: "tcp", local: "127.0.0.1:9999" });
    const look = (port: number, protocol = "tcp") =>
      programs["steer"]!.run({ protocol, local: `127.0.0.1:${port}`, remote: "127.0.0.1:50000" });
    expect(look(7001)).toMatchObject({ returnName: "SK_DROP" });
    maps["sockets"]!.set(1, socket);
    expect(look(7001)).toMatchObject({ returnName: "SK_PASS", socket });
    expect(look(6999)).toMatchObject({ returnName: "SK_PASS", socket: undefined });
    expect(look(7001, "udp")).toMatchObject({ returnName: "SK_PASS", socket: undefined });
  });

  it("the first byte of a datagram says which worker it is for", async () => {
    const { programs, maps, machine } = await load(BALANCERS, variant);
    const local = "10.0.0.1:443";
    const worker = machine.world.sockets.add({ protocol: "udp", local });
    maps["workers"]!.set(2, worker);
    const select = (payload: number[]) =>
      programs["select_worker"]!.run({ data: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, ...payload), local })
        .returnName;
    expect([select([2]), select([1]), select([])]).toEqual(["SK_PASS", "SK_DROP", "SK_DROP"]);
  });

  it("frames go out of the port that their VLAN says", async () => {
    const { programs, maps } = await load(BALANCERS, variant);
    maps["ports"]!.set(3, 42);
    const frame = (vid: number) => eth().vlan({ vid }).ipv4().udp().bytes();
    expect(programs["forward"]!.run({ packet: frame(0x103) })).toMatchObject({
      returnName: "XDP_REDIRECT",
      redirect: { ifindex: 42 },
    });
    expect(programs["forward"]!.run({ packet: frame(0x104) }).returnName).toBe("XDP_DROP");
    expect(programs["forward"]!.run({ packet: eth().ipv4().udp().bytes() }).returnName).toBe("XDP_PASS");
  });
});
