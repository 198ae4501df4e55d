import { classicSuite } from "./classic.ts";
import { compileSuite } from "./compile.ts";
import { eventsSuite } from "./events.ts";
import { mapsSuite } from "./maps.ts";
import { packetsSuite } from "./packets.ts";
import { stackSuite } from "./stack/suite.ts";
import { startSuite } from "./start.ts";
import type { Suite } from "./suite.ts";

export const SUITES: readonly Suite[] = [
  classicSuite,
  packetsSuite,
  eventsSuite,
  mapsSuite,
  compileSuite,
  startSuite,
  stackSuite,
];
