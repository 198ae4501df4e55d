/** Types that fill a gap, widest first. */
const PADS = [
  { name: "long", bits: 64 },
  { name: "int", bits: 32 },
  { name: "short", bits: 16 },
  { name: "char", bits: 8 },
] as const;

/** A gap between two members, in bits from the start of the structure. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  /** Of what comes next, in bytes. */
  readonly alignment: number;
  /** The gap is between two bit fields. */
  readonly inBitfield: boolean;
}

/**
 * The unnamed bit fields ("long: 0", "char: 3") that make a compiler leave this gap.
 *
 * Most gaps are left by the alignment of what follows and need nothing. Otherwise the widest type with a boundary inside
 * the gap is found: `type: 0` moves to that boundary where the compiler would not go by itself, and whole and partial
 * fields of the type fill what remains. Neither changes the alignment of the structure.
 */
export function padding({ from, to, alignment, inBitfield }: Gap): string[] {
  if (from >= to) return [];
  const fields: string[] = [];
  let at = from;
  let pad: (typeof PADS)[number] = PADS[0];
  let boundary = 0;
  for (pad of PADS) {
    boundary = roundUp(at, pad.bits);
    if (boundary <= to) break;
  }
  if (boundary > at && boundary <= to) {
    const unforced = boundary === to && roundUp(at, alignment * 8) !== boundary;
    const swallowed = boundary !== to && to - boundary <= boundary - at;
    if (inBitfield || unforced || swallowed) fields.push(`${pad.name}: ${inBitfield ? boundary - at : 0}`);
    at = boundary;
  }
  for (let bits = to - at; bits > 0; bits = to - at) {
    if (bits < pad.bits) pad = PADS.findLast((row) => row.bits >= bits) ?? pad;
    const taken = Math.min(bits, pad.bits);
    fields.push(`${pad.name}: ${taken}`);
    at += taken;
    // A structure of many megabytes that says nothing about itself.
    if (fields.length > MAX_FIELDS) return fields;
  }
  return fields;
}

/** One gap of a page is 64 fields; nothing real has a gap of many pages. */
const MAX_FIELDS = 1 << 16;

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
