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

/** Where things stand in a text. */
export interface Places {
  /** The line of a key path, from 1; of what is not found, the line of the nearest part above. */
  readonly lineOf: (path: Path) => number;
  /** For the line of a key that its mapping has already: the line of the first. */
  readonly repeated: ReadonlyMap<number, number>;
  /** Lines with keys that a tab indents: YAML counts it for nothing. */
  readonly tabbed: readonly number[];
}

/** A key at the beginning of a line's rest: in quotes, or plain up to the first colon. */
const KEY =
  /^(?:("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*|([^\s#"'{}[\],&*!|>%@`](?:[^#]|(?<!\s)#)*?)):(?=\s|$)/;
/** The rest of a text in quotes that began on a line above. */
const CLOSING: Readonly<Record<string, RegExp>> = {
  '"': /^(?:[^"\\]|\\.)*"/,
  "'": /^(?:[^']|'')*'(?!')/,
};

/**
 * Reads where everything stands.
 *
 * @param text The YAML text; any other is no mistake either.
 * @returns The places.
 */
export function placesOf(text: string): Places {
  const repeated = new Map<number, number>();
  const tabbed: number[] = [];
  const root: Place = { line: 1, children: new Map(), items: 0 };
  const levels: Level[] = [{ indent: -1, place: root }];
  const flow = new FlowReader(repeated);
  let open: Open = {};
  for (const [index, line] of text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/).entries()) {
    const rest = line.replace(/^[ \t]+/, "");
    if (rest === "") continue;
    const indent = line.search(/[^ ]/);
    if (open.scalar !== undefined && indent > open.scalar) continue;
    if (open.quote !== undefined) {
      if (CLOSING[open.quote]?.test(line)) open = {};
      continue;
    }
    open = {};
    if (flow.isOpen) flow.read(line, index + 1);
    else if (!/^(?:#|(?:---|\.\.\.)(?:\s|$)|%)/.test(rest)) {
      if (line[indent] === "\t" && (KEY.test(rest) || /^-\s/.test(rest))) tabbed.push(index + 1);
      open = readLine({ rest, indent, line: index + 1 }, levels, flow, repeated);
    }
  }
  const lineOf = (path: Path) => {
    let place = root;
    for (const step of path) {
      const next = place.children.get(String(step));
      if (next === undefined) break;
      place = next;
    }
    return place.line;
  };
  return { lineOf, repeated, tabbed };
}

/** What a line leaves open. */
interface Open {
  /** The indentation above which lines are the text of a block scalar. */
  readonly scalar?: number;
  /** The quotation mark that is to come. */
  readonly quote?: string;
}

function readLine(
  { rest, indent, line }: { rest: string; indent: number; line: number },
  levels: Level[],
  flow: FlowReader,
  repeated: Map<number, number>,
): Open {
  const add = (name: (parent: Place) => string): Place => {
    while ((levels.at(-1)?.indent ?? -1) >= indent) levels.pop();
    const parent = (levels.at(-1) as Level).place;
    const place: Place = { line, children: new Map(), items: 0 };
    addChild(parent, name(parent), place, repeated);
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
    const [whole, quoted, plain] = KEY.exec(rest) ?? [];
    const key = quoted ?? plain;
    const place = whole === undefined || key === undefined
      ? levels.at(-1)?.place
      : add(() => unquoted(key));
    const value = rest.slice(whole?.length ?? 0).replace(/^\s*(?:[&!]\S+\s+)*/, "");
    // Its text is further in than what it is the value of, and not than the line.
    if (/^[|>]/.test(value)) return { scalar: Math.floor((levels.at(-1) as Level).indent) };
    if (place !== undefined && /^[{[]/.test(value)) flow.begin(value, line, place);
    const quote = /^["']/.exec(value)?.[0];
    return quote !== undefined && !CLOSING[quote]?.test(value.slice(1)) ? { quote } : {};
  }
}

function addChild(
  parent: Place,
  name: string,
  place: Place,
  repeated: Map<number, number>,
): void {
  const before = parent.children.get(name);
  if (before !== undefined) repeated.set(place.line, before.line);
  parent.children.set(name, place);
}

function unquoted(key: string): string {
  if (key.startsWith('"')) return key.slice(1, -1).replace(/\\(.)/g, "$1");
  if (key.startsWith("'")) return key.slice(1, -1).replaceAll("''", "'");
  return key.trim();
}

/** Blanks, a comment, a text in quotes, a sign, or a word: a colon in front of no blank is in it. */
const TOKEN =
  /\s+|#.*$|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[{}[\],]|:(?=[\s,{}[\]]|$)|[^\s,{}[\]:](?:[^\s,{}[\]:]|:(?![\s,{}[\]]|$))*|:/g;

/** Reads `{ … }` and `[ … ]`, over as many lines as they take. */
class FlowReader {
  readonly #open: { readonly place: Place; readonly list: boolean; expectsKey: boolean }[] = [];
  readonly #repeated: Map<number, number>;
  #current: Place | undefined;
  /** The quotation mark that is to come. */
  #quote: string | undefined;

  /** @param repeated Where keys are told of that are there already. */
  constructor(repeated: Map<number, number>) {
    this.#repeated = repeated;
  }

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
    if (this.#quote !== undefined) {
      const [rest] = CLOSING[this.#quote]?.exec(text) ?? [];
      if (rest === undefined) return;
      this.#quote = undefined;
      text = text.slice(rest.length);
    }
    let word = "";
    let gap = "";
    for (const [part] of text.matchAll(TOKEN)) {
      const top = this.#open.at(-1);
      if (/^\s/.test(part)) gap = part;
      if (/^(?:\s|#)/.test(part)) continue;
      if (part === "{" || part === "[") {
        const place = top?.list ? this.#item(top.place, line) : this.#current;
        if (place === undefined) return;
        this.#open.push({ place, list: part === "[", expectsKey: part === "{" });
        this.#current = undefined;
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
        addChild(top.place, unquoted(word), place, this.#repeated);
        this.#current = place;
        top.expectsKey = false;
      } else if (top.list && this.#current === undefined) {
        this.#current = this.#item(top.place, line);
      }
      const [quote = ""] = /^["']/.exec(part) ?? [];
      if (quote !== "" && !CLOSING[quote]?.test(part.slice(1))) this.#quote = quote;
      word = /^[:,{}[\]]/.test(part) ? "" : word === "" ? part : word + gap + part;
    }
  }

  #item(list: Place, line: number): Place {
    const place: Place = { line, children: new Map(), items: 0 };
    list.children.set(String(list.items++), place);
    return place;
  }
}
