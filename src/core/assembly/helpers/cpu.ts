import { EXEC_CPU, EXEC_RANDOM } from "../../layout";
import { exec } from "../state";

export function get_smp_processor_id(): u32 {
  return load<u32>(exec, EXEC_CPU);
}

/** xorshift64* (Vigna 2016), upper half; seeded for each CPU by `init`, so that runs can be repeated. */
export function get_prandom_u32(): u32 {
  let value = load<u64>(exec, EXEC_RANDOM);
  value ^= value >> 12;
  value ^= value << 25;
  value ^= value >> 27;
  store<u64>(exec, value, EXEC_RANDOM);
  return u32((value * ((u64(0x2545f491) << 32) | 0x4f6cdd1d)) >> 32);
}
