/**
 * Text for man(7).
 *
 * What is written here has three marks: `` `literal` `` becomes bold, `<argument>` italic, and a
 * paragraph whose lines begin with four spaces is an example, shown as it stands.
 *
 * @module
 */

/**
 * Paragraphs of a section.
 *
 * @param text Paragraphs with empty lines between them.
 * @param first The request before the first one: `.PP`, or none after a heading or a tag.
 * @returns Lines of roff, each with its end.
 */
export function paragraphs(text: string, first = ""): string {
  const all = text.replace(/^\n+|\n+$/g, "").split(/\n{2,}/);
  return all.map((paragraph, index) => {
    const before = index > 0 ? ".PP\n" : first === "" ? "" : `${first}\n`;
    return `${before}${filled(paragraph)}`;
  }).join("");
}

/**
 * The entry of a list, with its tag.
 *
 * @param tag The tag, with marks.
 * @param text What is said of it.
 * @returns Lines of roff.
 */
export function entry(tag: string, text: string): string {
  const body = paragraphs(text).replaceAll(/^\.PP$/gm, ".IP");
  return `.TP\n${inline(tag)}\n${body}`;
}

/**
 * One line of text with marks.
 *
 * @param text The line.
 * @returns Roff, without the end of the line.
 */
export function inline(text: string): string {
  const line = text.split(/(`[^`]*`|<[^<>\s]+>)/).map((part) => {
    if (part.length > 2 && part.startsWith("`")) return `\\fB${escaped(part.slice(1, -1))}\\fR`;
    if (part.length > 2 && part.startsWith("<")) return `\\fI${escaped(part.slice(1, -1))}\\fR`;
    return escaped(part);
  }).join("");
  // A dot or an apostrophe at the beginning of a line would make it a request.
  return line.replace(/^(?=[.'])/, "\\&");
}

/**
 * Text that stands for itself.
 *
 * @param text Any text without line ends.
 * @returns Roff that shows it as it is, and lets it be copied as it is.
 */
export function escaped(text: string): string {
  return text.replace(/[\\\-'`^~"]|[^\x20-\x7e]/gu, (char) => {
    const known = SPECIAL[char];
    if (known !== undefined) return known;
    return `\\[u${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/** groff(7) would print their typographic relatives. */
const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
  '"': "\\(dq",
};

function filled(paragraph: string): string {
  const lines = paragraph.split("\n");
  if (!lines.every((line) => line.startsWith("    "))) {
    return lines.map((line) => `${inline(line)}\n`).join("");
  }
  const shown = lines.map((line) => `${escaped(line.slice(4)).replace(/^(?=[.'])/, "\\&")}\n`);
  return `.RS 4\n.EX\n${shown.join("")}.EE\n.RE\n`;
}
