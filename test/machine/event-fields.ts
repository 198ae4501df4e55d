/** Fields of the contexts of programs that take no packets, for tests that go through them all. */
import { type ContextField, type Hook, HOOKS, contextAccess, takesPackets } from "../../src/hooks/index.ts";
import type { AttachType } from "../../src/uapi/index.ts";

export const EVENTS: readonly Hook[] = HOOKS.filter(
  (hook) => !takesPackets(hook) && hook.context.fields.some(({ input }) => input === true),
);

/** An attach type for which a field may be read or written, if there is one. */
export function attachFor(
  hook: Hook,
  field: ContextField,
  write: boolean,
): { attach: AttachType | undefined } | undefined {
  const { offset, size } = field;
  for (const attach of [undefined, ...(hook.attach ?? [])]) {
    if (contextAccess(hook, attach, { offset, size, write }) !== undefined) return { attach };
  }
  return undefined;
}

type Row = readonly [name: string, hook: Hook, field: ContextField];

function rows(has: (field: ContextField) => boolean): Row[] {
  return EVENTS.flatMap((hook) =>
    hook.context.fields.filter(has).map((field) => [`${hook.type}.${field.name}`, hook, field] as const),
  );
}

/** Fields that an input can set. */
export function settableFields(): Row[] {
  return rows(({ input, kind, read }) => input === true && kind === undefined && read !== undefined);
}

/** Fields that programs may write. */
export function writableFields(): Row[] {
  return rows(({ write }) => write !== undefined);
}
