/** Kernel functions that a machine does not have, and why; every other one is in table.ts. */
const BBR =
  "BBR is driven by the rates and pacing timers of a TCP stack, which a machine does not have: what it would answer could only be made up";

/** By name. */
export const ABSENT_KFUNCS: Readonly<Record<string, string>> = {
  bbr_cwnd_event: BBR,
  bbr_init: BBR,
  bbr_main: BBR,
  bbr_min_tso_segs: BBR,
  bbr_set_state: BBR,
  bbr_sndbuf_expand: BBR,
  bbr_ssthresh: BBR,
  bbr_undo_cwnd: BBR,
};
