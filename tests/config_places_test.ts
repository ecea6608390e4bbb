/** Where keys stand in a text, as a parser that knows positions has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isMap, isPair, isScalar, LineCounter, type Node, parseDocument, stringify } from "yaml";
import { placesOf } from "../lib/config/places.ts";
import type { Path } from "../lib/config/problems.ts";

/** The line of every key and item of a text. */
function positionsOf(text: string): { path: Path; line: number }[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  assert.deepEqual(document.errors, []);
  const found: { path: Path; line: number }[] = [];
  const visit = (node: unknown, path: Path) => {
    if (typeof node !== "object" || node === null || !("items" in node)) return;
    for (const [index, item] of (node.items as unknown[]).entries()) {
      const key = isPair(item) && isScalar(item.key) ? String(item.key.value) : undefined;
      const step = isMap(node) ? key : index;
      if (step === undefined) continue;
      const at = (isPair(item) ? item.key : item) as Node | null;
      const [offset] = at?.range ?? [];
      if (offset !== undefined) {
        found.push({ path: [...path, step], line: lines.linePos(offset).line });
      }
      visit(isPair(item) ? item.value : item, [...path, step]);
    }
  };
  visit(document.contents, []);
  return found;
}

const WORD = fc.stringMatching(/^[A-Za-z][A-Za-z0-9._ -]{0,6}[A-Za-z0-9]$/);
const KEY = fc.oneof(
  { weight: 4, arbitrary: WORD },
  fc.constantFrom(
    "a: b",
    "- a",
    "# a",
    "a #b",
    "a#b",
    "it's",
    'say "a"',
    "[a]",
    "{a}",
    "1",
    "~",
    "",
  ),
  fc.constantFrom("__proto__", "constructor", "é", "a\\b", "*a", "&a", "!a", "|", ">", "?", "%a"),
);
const TEXT = fc.oneof(
  WORD,
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom(
    "a: b",
    "- a",
    "# a",
    "{ a: b }",
    "[a, b]",
    "'",
    '"',
    "",
    "  ",
    "a\n  b: c\n",
    "- a\nb: c",
  ),
  fc.constantFrom("one\ntwo: 2\n\n  three: 3\n", "k: v\n# c\n", "\ttab: 1\nx: 2", "| a\n", "10:20"),
);
const { value: VALUE } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    TEXT,
    fc.dictionary(KEY, tie("value"), { maxKeys: 5, noNullPrototype: true }),
    fc.array(tie("value"), { maxLength: 4 }),
  ),
}));
const FILE = fc.dictionary(KEY, VALUE, { minKeys: 1, maxKeys: 6, noNullPrototype: true });
/** Comments and empty lines in front of some lines. */
const NOISE = fc.constantFrom("", "", "", "# key: value", "   ", "      # - a", "\r");

test("in block style the line of every key and of every item is right", () => {
  const options = fc.record({
    indent: fc.integer({ min: 1, max: 5 }),
    indentSeq: fc.boolean(),
    singleQuote: fc.constantFrom(true, false, null),
  });
  fc.assert(
    fc.property(FILE, options, fc.boolean(), (file, options, crlf) => {
      const plain = stringify(file, { ...options, lineWidth: 0 });
      const text = crlf ? plain.replaceAll("\n", "\r\n") : plain;
      const { lineOf } = placesOf(text);
      for (const { path, line } of positionsOf(text)) {
        assert.equal(lineOf(path), line, `${JSON.stringify(path)} of\n${text}`);
      }
    }),
    { numRuns: 1_500 },
  );
});

test("comments and empty lines are counted, and are nothing else", () => {
  const words = fc.dictionary(WORD, fc.dictionary(WORD, fc.array(WORD)), { minKeys: 1 });
  fc.assert(
    fc.property(words, fc.array(NOISE, { maxLength: 30 }), (file, noise) => {
      const text = stringify(file, { lineWidth: 0 }).split("\n")
        .map((line, index) => noise[index] ? `${noise[index]}\n${line}` : line).join("\n");
      const { lineOf } = placesOf(text);
      for (const { path, line } of positionsOf(text)) {
        assert.equal(lineOf(path), line, `${JSON.stringify(path)} of\n${text}`);
      }
    }),
    { numRuns: 300 },
  );
});

test("in flow style the line is right, or that of something it is in", () => {
  let exact = 0;
  let all = 0;
  fc.assert(
    fc.property(FILE, fc.integer({ min: 0, max: 60 }), (file, lineWidth) => {
      const document = stringify({ version: 1, file }, { collectionStyle: "flow", lineWidth });
      const { lineOf } = placesOf(document);
      // In few columns it may write what it does not read itself.
      fc.pre(parseDocument(document).errors.length === 0);
      const positions = positionsOf(document);
      const lines = new Map(positions.map(({ path, line }) => [JSON.stringify(path), line]));
      for (const { path, line } of positions) {
        const above = path.map((_, index) => lines.get(JSON.stringify(path.slice(0, index + 1))));
        assert.ok([1, ...above].includes(lineOf(path)), `${JSON.stringify(path)} of\n${document}`);
        all += 1;
        if (lineOf(path) === line) exact += 1;
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(exact > all * 0.8, `${exact} of ${all}`);
});

test("a key that its mapping has already is found, with the line of the first", () => {
  const lines = (text: string) => [...placesOf(text).repeated];
  assert.deepEqual(lines("a: 1\nb: 2\na: 3\n"), [[3, 1]]);
  assert.deepEqual(lines("x:\n  a: 1\n  'a': 2\ny:\n  a: 1\n"), [[3, 2]]);
  assert.deepEqual(lines("x: { a: 1,\n  b: 2,\n  a: 3 }\n"), [[3, 1]]);
  assert.deepEqual(lines("x:\n  - a: 1\n  - a: 1\n"), []);
  assert.deepEqual(lines("x: |\n  a: 1\n  a: 1\ny: 'b\n  a: 1\n  a: 1'\n"), []);
});

test("a key that a tab indents is found, and no tab that does no harm", () => {
  const lines = (text: string) => placesOf(text).tabbed;
  assert.deepEqual(lines("a:\n\tb: 1\n \tc: 1\n\t- d\n"), [2, 3, 4]);
  assert.deepEqual(
    lines("a:\t1\nb: [\n\tc: 1 ]\nd: |\n  \te: 1\nf: 'g\n\th: 1'\n\t# i: 1\n\t\n"),
    [],
  );
});

test("of what is not there, the line is that of the nearest part above", () => {
  const { lineOf } = placesOf("# c\na:\n  b:\n    - c: 1\n");
  assert.deepEqual(
    [[], ["x"], ["a"], ["a", "b", 7], ["a", "b", 0, "c", "d"]].map(lineOf),
    [1, 1, 2, 3, 4],
  );
});

test("no text is too strange for it", () => {
  const piece = fc.constantFrom(..."\n\r\t :-#{}[],&*!|>%@`\"'\\?~a1", "\n  ", ": ", "- ", "---\n");
  const text = fc.oneof(
    fc.string({ maxLength: 200, unit: "binary" }),
    fc.array(piece, { maxLength: 80 }).map((pieces) => pieces.join("")),
  );
  fc.assert(
    fc.property(text, fc.array(fc.oneof(fc.string(), fc.nat(9))), (text, path) => {
      const line = placesOf(text).lineOf(path);
      assert.ok(line >= 1 && line <= text.split(/\r\n|\r|\n/).length);
    }),
    { numRuns: 3_000 },
  );
});
