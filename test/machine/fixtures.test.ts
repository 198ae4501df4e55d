import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { FIXTURE_CASES, FIXTURE_PACKETS, type FixtureNeed } from "../fixtures/cases.ts";
import { ROOT } from "../helpers.ts";

/** What no engine has yet, and the issue that brings it. */
const LATER: Partial<Record<FixtureNeed, string>> = {
  externs: "kernel symbols come with the linking issue",
  arena: "arenas come with the linking and map issues",
};

describe.each(ENGINES)("fixtures in the %s", (engine) => {
  const cases = FIXTURE_CASES.map((row) => [`${row.object} ${row.program}`, row] as const);
  test.for(cases.filter(([, { needs }]) => needs === undefined || LATER[needs] === undefined))(
    "%s",
    async ([, { object, program, type, packet, returns, networkLayer }]) => {
      const spec = parseObject(readFileSync(join(ROOT, "test/fixtures", object)), { name: object });
      const machine = await Machine.create({ engine });
      let { programs } = await machine.load(spec, { programs: [program] });
      // The sandbox does not know all memory that helpers hand to callbacks.
      if (programs[program]?.verified === false) {
        ({ programs } = await machine.load(spec, { programs: [program], unverified: "trusted" }));
      }
      const run = programs[program]?.run({
        packet: FIXTURE_PACKETS[packet],
        ...(type === "socket" ? { layer: networkLayer === true ? "network" : "link" } : {}),
      });
      expect((run?.returnValue ?? -1) >>> 0).toBe(returns >>> 0);
    },
  );
});
