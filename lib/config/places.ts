/**
 * Where in a YAML text a key stands. @std/yaml tells no positions, so the text is read once more:
 * by its indentation as far as it has any, and by brackets inside flow collections.
 *
 * @module
 */
import type { Path } from "./problems.ts";

/** A key or an item: where it stands, and what is in it. */
interface Place {
  readonly line: number;
  readonly children: Map<string, Place>;
  /** Items of a list seen so far. */
  items: number;
}

/** A mapping or a list that lines with more indentation belong to. */
interface Level {
  readonly indent: number;
  readonly place: Place;
}

/** A key at the beginning of a line's rest: plain, or in quotes. */
const KEY = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#"'{}[\],&*!|>%@`][^#]*?)\s*:(?=\s|$)/;

/**
 * Reads where everything stands.
 *
 * @param text The YAML text.
 * @returns Finds the line of a key path, from 1; of what it does not find, the line of the nearest
 *   part above.
 */
export function placesOf(text: string): (path: Path) => number {
  const root: Place = { line: 1, children: new Map(), items: 0 };
  const levels: Level[] = [{ indent: -1, place: root }];
  const flow = new FlowReader();
  /** The indentation above which lines are the text of a block scalar. */
  let scalar: number | undefined;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const indent = line.search(/\S/);
    if (indent < 0) continue;
    if (scalar !== undefined && indent > scalar) continue;
    scalar = undefined;
    if (flow.isOpen) flow.read(line, index + 1);
    else if (!/^(?:#|---|\.\.\.|%)/.test(line.slice(indent))) {
      scalar = readLine({ rest: line.slice(indent), indent, line: index + 1 }, levels, flow);
    }
  }
  return (path) => {
    let place = root;
    for (const step of path) {
      const next = place.children.get(String(step));
      if (next === undefined) break;
      place = next;
    }
    return place.line;
  };
}

/** @returns The indentation of a block scalar that begins here. */
function readLine(
  { rest, indent, line }: { rest: string; indent: number; line: number },
  levels: Level[],
  flow: FlowReader,
): number | undefined {
  const first = indent;
  const add = (name: (parent: Place) => string): Place => {
    while ((levels.at(-1)?.indent ?? -1) >= indent) levels.pop();
    const parent = (levels.at(-1) as Level).place;
    const place: Place = { line, children: new Map(), items: 0 };
    parent.children.set(name(parent), place);
    levels.push({ indent, place });
    return place;
  };
  for (;;) {
    const dash = /^-(\s+|$)/.exec(rest);
    if (dash !== null) {
      // A list may stand at its key's own indentation: half a step keeps the two apart.
      indent += 0.5;
      add((parent) => String(parent.items++));
      indent = indent - 0.5 + dash[0].length;
      rest = rest.slice(dash[0].length);
      continue;
    }
    const [whole, key] = KEY.exec(rest) ?? [];
    const place = whole === undefined || key === undefined
      ? levels.at(-1)?.place
      : add(() => unquoted(key));
    const value = rest.slice(whole?.length ?? 0).replace(/^\s*(?:[&!]\S+\s+)*/, "");
    if (/^[|>]/.test(value)) return first;
    if (place !== undefined && /^[{[]/.test(value)) flow.begin(value, line, place);
    return undefined;
  }
}

function unquoted(key: string): string {
  if (key.startsWith('"')) return key.slice(1, -1).replace(/\\(.)/g, "$1");
  if (key.startsWith("'")) return key.slice(1, -1).replaceAll("''", "'");
  return key.trim();
}

/** Reads `{ … }` and `[ … ]`, over as many lines as they take. */
class FlowReader {
  readonly #open: { readonly place: Place; readonly list: boolean; expectsKey: boolean }[] = [];
  #current: Place | undefined;

  /** Whether one is open at the end of the last line. */
  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  /**
   * Begins one.
   *
   * @param text From its bracket on.
   * @param line The line.
   * @param place What it is the value of.
   */
  begin(text: string, line: number, place: Place): void {
    this.#current = place;
    this.read(text, line);
  }

  /**
   * Reads a line, or the rest of one.
   *
   * @param text The text.
   * @param line The line.
   */
  read(text: string, line: number): void {
    const token =
      /\s+|#.*$|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[{}[\],]|:(?=[\s,{}[\]]|$)|[^\s,{}[\]:]+|:/g;
    let word = "";
    for (const [part] of text.matchAll(token)) {
      const top = this.#open.at(-1);
      if (/^(?:\s|#)/.test(part)) continue;
      if (part === "{" || part === "[") {
        const place = top?.list ? this.#item(top.place, line) : this.#current;
        if (place === undefined) return;
        this.#open.push({ place, list: part === "[", expectsKey: part === "{" });
      } else if (part === "}" || part === "]") {
        this.#open.pop();
        this.#current = undefined;
        if (!this.isOpen) return;
      } else if (top === undefined) {
        return;
      } else if (part === ",") {
        top.expectsKey = !top.list;
        this.#current = undefined;
      } else if (part === ":") {
        if (top.list || !top.expectsKey) continue;
        const place: Place = { line, children: new Map(), items: 0 };
        top.place.children.set(unquoted(word), place);
        this.#current = place;
        top.expectsKey = false;
      } else if (top.list && this.#current === undefined) {
        this.#current = this.#item(top.place, line);
      }
      word = /^[\s:,{}[\]]/.test(part) ? "" : part;
    }
  }

  #item(list: Place, line: number): Place {
    const place: Place = { line, children: new Map(), items: 0 };
    list.children.set(String(list.items++), place);
    return place;
  }
}
