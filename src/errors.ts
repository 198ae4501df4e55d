/**
 * Every failure that skep reports is a {@link BpfError}: one class, with a stable `code` for programs and a
 * `message` for people that names the object first ("map 'flows': key size is 8, the object declares 4").
 */

/** The codes, one row each; the text says when it is used. */
export const ERROR_CODES = {
  usage: "an option or argument that the callee does not have or that makes no sense",
  io: "a file or stream that cannot be read or written",
  elf: "not an ELF object, or a damaged one",
  object: "an ELF object that is well formed but is no BPF object that we can load",
  relocation: "a relocation or symbol that cannot be resolved",
  btf: "damaged or inconsistent BTF",
  instruction: "an instruction that does not exist, or one whose reserved fields are set",
  program: "a program that is malformed as a whole: jumps, calls, registers, length",
  asm: "assembly text that cannot be read",
  filter: "a filter expression that cannot be read or has no meaning for its link type",
  capture: "a damaged or unknown capture file",
  linktype: "a link type that the program type cannot take",
  map: "a map operation or definition that the kernel would refuse; `errno` names the kernel's error",
  helper: "a helper that does not exist, or that this machine cannot do",
  context: "an input (packet, context) that the program type cannot take",
  fault: "a program that was stopped at run time",
  fuel: "a program that did not end within the fuel of a run",
  memory: "the machine's linear memory is used up",
  kernel: "a call that the Linux kernel refused; `errno` names its error",
  verifier: "a program that a verifier rejected; `log` of the VerifierError says why",
  unsupported: "something valid that this version does not do",
} as const;

/** One of the stable codes of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** Where an error arose, as far as it is known. All indices count from 0, lines and columns from 1. */
export interface ErrorLocation {
  readonly file?: string;
  readonly section?: string;
  readonly program?: string;
  readonly map?: string;
  /** Index of the instruction slot (8 bytes each, as the kernel counts). */
  readonly instruction?: number;
  /** Byte offset in the file or section. */
  readonly offset?: number;
  /** Source line as `file:line`, from line information. */
  readonly source?: string;
  readonly line?: number;
  readonly column?: number;
  /** Index in a batch of elements. */
  readonly element?: number;
}

/** What else an error can carry. */
export interface BpfErrorOptions {
  readonly where?: ErrorLocation;
  readonly cause?: unknown;
  /** The kernel's name of the error ("EINVAL"), where the kernel would answer with one. */
  readonly errno?: string;
}

/**
 * The only error that skep throws for foreign bytes, wrong arguments and misbehaving programs.
 *
 * @example
 * try { parseObject(bytes); } catch (error) {
 *   if (error instanceof BpfError && error.code === "elf") console.error(error.message);
 * }
 */
export class BpfError extends Error {
  readonly code: ErrorCode;
  readonly where: ErrorLocation;
  readonly errno: string | undefined;

  constructor(code: ErrorCode, message: string, options: BpfErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "BpfError";
    this.code = code;
    this.where = options.where ?? {};
    this.errno = options.errno;
  }

  /** The same error, with what the caller knows about the place added; what is known already stays. */
  at(where: ErrorLocation): BpfError {
    return new BpfError(this.code, this.message, {
      where: { ...where, ...this.where },
      cause: this.cause,
      ...(this.errno === undefined ? {} : { errno: this.errno }),
    });
  }

  /** The shape that `--json` prints. */
  toJSON(): { code: ErrorCode; message: string; errno?: string; where: ErrorLocation } {
    return {
      code: this.code,
      message: this.message,
      ...(this.errno === undefined ? {} : { errno: this.errno }),
      where: this.where,
    };
  }
}

/** A program that a verifier rejected, with the whole log; the message ends with the log's own last complaint. */
export class VerifierError extends BpfError {
  readonly log: string;

  constructor(message: string, log: string, options: BpfErrorOptions = {}) {
    super("verifier", message, options);
    this.name = "VerifierError";
    this.log = log;
  }

  override at(where: ErrorLocation): VerifierError {
    return new VerifierError(this.message, this.log, {
      where: { ...where, ...this.where },
      cause: this.cause,
      ...(this.errno === undefined ? {} : { errno: this.errno }),
    });
  }
}
