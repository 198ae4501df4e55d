/** What Node.js has of itself. Its `performance` is loaded when it is first touched, which takes 5 ms of the start of a command. */
const { process: host } = globalThis as { readonly process?: Partial<Pick<typeof process, "hrtime">> };

/**
 * Milliseconds of a clock that never goes back, with fractions, from an arbitrary beginning.
 *
 * @example
 * const start = milliseconds();
 * work();
 * milliseconds() - start; // 12.5
 */
export const milliseconds: () => number =
  host?.hrtime === undefined
    ? () => performance.now()
    : () => {
        const [seconds, nanoseconds] = (host as typeof process).hrtime();
        return seconds * 1e3 + nanoseconds / 1e6;
      };
