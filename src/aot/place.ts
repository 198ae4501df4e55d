/** What a self-contained module finds in its memory: orders, contexts and buffers of its programs, its maps, its description. */
import {
  CTX_HEADER,
  CTX_KIND,
  CTX_RIGHTS,
  CTX_SIZE,
  EMBED_MANIFEST,
  EMBED_MANIFEST_SIZE,
  EMBED_MAPS,
  EMBED_MAP_LIST,
  EMBED_PROGRAMS,
  EMBED_PROGRAM_LIST,
  EMBED_PROGRAM_SIZE,
  EMBED_RECORD,
  EMBED_SIZE,
  ENGINE_JIT,
  KIND_NONE,
  RECORD_SIZE,
  RUN_CTX,
  RUN_CTX_SIZE,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_HEADROOM,
  RUN_KIND,
  RUN_SOCKET,
  SOCK_SIZE,
  RUN_PROG,
  RUN_REPEAT,
  RUN_RESERVE,
  RUN_TEMPLATE,
} from "../core/layout.ts";
import { contextRights, contextTemplate } from "../hooks/index.ts";
import type { BpfMap, Machine, Program } from "../machine/index.ts";

export interface Placed {
  readonly programs: readonly Program[];
  readonly maps: readonly BpfMap[];
  readonly fuel: bigint;
  readonly manifest: Uint8Array;
}

/** The address of the EMBED_ block. */
export function place(machine: Machine, { programs, maps, fuel, manifest }: Placed): number {
  const { memory } = machine;
  const block = memory.alloc(EMBED_SIZE, "module");
  const set = (field: number, value: number): void => memory.setU32(block + field, value);

  const list = memory.alloc(EMBED_PROGRAM_SIZE * programs.length, "programs");
  programs.forEach((program, index) =>
    placeProgram(machine, program, fuel, list + EMBED_PROGRAM_SIZE * index),
  );
  set(EMBED_PROGRAMS, programs.length);
  set(EMBED_PROGRAM_LIST, list);

  const addresses = memory.alloc(4 * Math.max(1, maps.length), "maps");
  maps.forEach((map, index) => memory.setU32(addresses + 4 * index, map.address));
  set(EMBED_MAPS, maps.length);
  set(EMBED_MAP_LIST, addresses);

  set(EMBED_RECORD, memory.alloc(RECORD_SIZE, "packet record"));
  const text = memory.alloc(manifest.length, "description");
  memory.write(text, manifest);
  set(EMBED_MANIFEST, text);
  set(EMBED_MANIFEST_SIZE, manifest.length);
  return block;
}

function placeProgram({ memory, regions }: Machine, program: Program, fuel: bigint, order: number): void {
  const { hook } = program;
  const { size } = hook.context;
  const set = (field: number, value: number): void => memory.setU32(order + field, value);
  const context = memory.alloc(CTX_HEADER + size, "context", 64) + CTX_HEADER;
  const rights = memory.alloc(size, "rights to the context");
  memory.write(rights, contextRights(hook.context));
  memory.setU32(context + CTX_SIZE, size);
  memory.setU32(context + CTX_RIGHTS, rights);
  regions.add({ kind: "context", label: `context of ${program.name}`, address: context, size });
  set(RUN_PROG, program.descriptor);
  set(RUN_ENGINE, ENGINE_JIT);
  set(RUN_CTX, context);
  set(RUN_CTX_SIZE, size);
  set(RUN_REPEAT, 1);
  memory.setU64(order + RUN_FUEL, fuel);
  if (hook.packet === undefined) {
    memory.setU32(context + CTX_KIND, KIND_NONE);
    set(RUN_KIND, KIND_NONE);
    return;
  }
  const template = memory.alloc(size, "context template");
  memory.write(template, contextTemplate(hook));
  set(RUN_KIND, hook.packet.kind);
  set(RUN_TEMPLATE, template);
  set(RUN_HEADROOM, hook.packet.headroom);
  set(RUN_RESERVE, hook.packet.tailReserve);
  if (program.readsSocket) {
    const socket = memory.alloc(SOCK_SIZE, "socket of the packet");
    regions.add({
      kind: "object",
      label: "socket of the packet",
      address: socket,
      size: SOCK_SIZE,
      writable: false,
    });
    set(RUN_SOCKET, socket);
  }
}
