/** Random expressions: libpcap and ours accept the same ones and give the same verdicts, optimised or not. */
import { describe, expect, it } from "vitest";
import { hasCorpus, needs } from "../helpers.ts";
import { ask, compare, libpcap, randomQuestions } from "./compare.ts";
import { hasFilters, packetsByLink } from "./corpus.ts";

const present = hasCorpus && hasFilters && libpcap() !== undefined;
/** More for a thorough run: SKEP_FILTER_EXPRESSIONS=20000, SKEP_FILTER_SEED=2. */
const COUNT = Number(process.env["SKEP_FILTER_EXPRESSIONS"] ?? 500);
const SEED = Number(process.env["SKEP_FILTER_SEED"] ?? 1);
const PACKETS = 24;

describe.skipIf(!present)(
  needs("random expressions against libpcap", present, "cc, libpcap or corpus"),
  () => {
    it(
      "are accepted and refused alike, with equal verdicts",
      () => {
        const questions = randomQuestions(COUNT, SEED);
        const seeds = new Map(
          [...packetsByLink(16)].map(([dlt, packets]) => [
            dlt,
            packets.filter((packet) => packet.length < 400),
          ]),
        );
        const result = compare(questions, ask(questions, false), (dlt) => seeds.get(dlt) ?? [], PACKETS);
        expect(
          result.differences.map(
            ({ what, question, detail }) =>
              `${what}: ${question.link.name} ${question.expression}: ${detail}`,
          ),
        ).toEqual([]);
        expect(result.compiled).toBeGreaterThan(COUNT / 3);
        expect(result.refused).toBeGreaterThan(COUNT / 10);
      },
      60_000 + COUNT * 100,
    );
  },
);
