import { classicSuite } from "./classic.ts";
import type { Suite } from "./suite.ts";

export const SUITES: readonly Suite[] = [classicSuite];
