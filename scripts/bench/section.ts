/** The section of docs/benchmarks.md that is not `task bench`'s own: `task bench:start` writes it. */

const BEGIN = "<!-- Written by `deno task bench:start`; not to be changed by hand. -->";
const END = "<!-- Up to here. -->";

/**
 * Puts the section into a document, in the place of the one that is there or at its end.
 *
 * @param document The text of the whole document.
 * @param section The section, from its heading on.
 * @returns The text of the new one.
 */
export function withSection(document: string, section: string): string {
  const text = `${BEGIN}\n\n${section.trim()}\n\n${END}\n`;
  const place = placeOf(document);
  if (place === undefined) return `${document.trimEnd()}\n\n${text}`;
  return document.slice(0, place.from) + text + document.slice(place.to).replace(/^\n/, "");
}

/**
 * Takes the section over from the document that is about to be replaced.
 *
 * @param fresh The text of the new document.
 * @param old The text of the one before.
 * @returns The new one with the old one's section, if that has any.
 */
export function keepSection(fresh: string, old: string): string {
  const place = placeOf(old);
  if (place === undefined) return fresh;
  return withSection(fresh, old.slice(place.from + BEGIN.length, place.to - END.length));
}

function placeOf(document: string): { readonly from: number; readonly to: number } | undefined {
  const from = document.indexOf(BEGIN);
  const end = document.indexOf(END, from);
  return from < 0 || end < 0 ? undefined : { from, to: end + END.length };
}
