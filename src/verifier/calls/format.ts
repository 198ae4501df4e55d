/** Format strings of bpf_snprintf, which the verifier can read when they are constants (bpf_bprintf_prepare). */

const SPACE = /[\t-\r ]/;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
/** Flags, width; then a pointer, a string, a character, or a number with its length. */
const SPECIFIER = /^[0+\- ]*(?:[1-9][0-9]*)?(?:(?<pointer>p)|(?<string>s)|c|(?:l{0,2}[iduxX]))/;
const POINTER = /^(?:(?<string>[ku]s)|[KxsSB]|[iI][46])/;

/**
 * Whether a format string makes sense and has no more specifiers than there are arguments.
 *
 * @param text one byte a character, without the NUL that ends it
 */
export function isValidFormat(text: string, argumentCount: number): boolean {
  let used = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (!SPACE.test(character) && (character < " " || character > "~")) return false;
    if (character !== "%") continue;
    if (text[at + 1] === "%") {
      at++;
      continue;
    }
    if (used >= argumentCount) return false;
    const rest = text.slice(at + 1);
    const match = SPECIFIER.exec(rest);
    if (match === null) return false;
    let length = match[0].length;
    let isString = match.groups?.["string"] !== undefined;
    if (match.groups?.["pointer"] !== undefined && !ends(rest[length])) {
      const extended = POINTER.exec(rest.slice(length));
      if (extended === null) return false;
      length += extended[0].length;
      isString = extended.groups?.["string"] !== undefined;
    }
    if (isString && !ends(rest[length])) return false;
    at += length;
    used++;
  }
  return true;
}

/** Whether a specifier may end before this character. */
function ends(next: string | undefined): boolean {
  return next === undefined || SPACE.test(next) || PUNCTUATION.test(next);
}
