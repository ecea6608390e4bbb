/**
 * The lines of an ssh_config file.
 *
 * @module
 */

/** One line that says something. */
export interface ConfigLine {
  /** Its number in the file, from 1. */
  readonly number: number;
  /** The keyword as it is written. */
  readonly keyword: string;
  /** What follows it, without the separator; not split yet. */
  readonly rest: string;
}

/**
 * Takes the text of a file apart, as ssh does: a keyword, then spaces or one `=`, then its value.
 * Empty lines and comments are left out.
 *
 * @param text The whole file; its lines may end in CRLF.
 * @returns Its lines.
 */
export function readLines(text: string): ConfigLine[] {
  const lines: ConfigLine[] = [];
  text.split("\n").forEach((line, index) => {
    const said = line.replace(/^[ \t\r]+|[ \t\r\f]+$/g, "");
    if (said === "" || said.startsWith("#")) return;
    const { keyword, rest } = splitKeyword(said);
    lines.push({ number: index + 1, keyword, rest });
  });
  return lines;
}

/**
 * Splits a keyword from its value: `Port 22`, `Port=22`, `Port = 22`, `"Port" 22`.
 *
 * @param text The two, without spaces around them.
 * @returns The two; the value is empty where there is none.
 */
export function splitKeyword(text: string): { keyword: string; rest: string } {
  const form = /^(?:"([^"]*)"[ \t\r]*|([^ \t\r="]*)[ \t\r]*=?[ \t\r]*)([^]*)$/;
  const [, quoted, plain = "", rest = ""] = form.exec(text) ?? [];
  return { keyword: quoted ?? plain, rest };
}
