/** What a person reads of links that are lost and come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { linkNews } from "../lib/cli/link_news.ts";
import { Output } from "../lib/cli/output.ts";
import type { SessionOptions } from "../lib/session/options.ts";

/** The line about one of three connections that was lost. */
function lossOf(options: SessionOptions): string[] {
  const lines: string[] = [];
  const screen = { color: false, out: () => {}, err: (line: string) => void lines.push(line) };
  const output = new Output({ verbosity: 0, json: false }, screen);
  const { onConnections } = linkNews(output, { ...options, name: "server:22" });
  const wanted = options.retries === 0 ? 2 : 3;
  onConnections({ open: 2, wanted, gone: 1, lost: 1, reason: "it hung up" });
  return lines;
}

test("a loss that is not made up for says so", () => {
  const lost = "fairlead: lost 1 of 3 SSH connections to server:22 (it hung up)";
  const rest = "; 1 connection was reset; 2 go on";
  assert.deepEqual(lossOf({ connections: 3 }), [`${lost}${rest}`]);
  assert.deepEqual(lossOf({ connections: 3, retries: 5 }), [`${lost}${rest}`]);
  assert.deepEqual(lossOf({ connections: 3, retries: 0 }), [
    `${lost}, not made again (--retry 0)${rest}`,
  ]);
  // This one makes another as soon as it is needed, whatever is said.
  assert.deepEqual(lossOf({ connections: "auto", retries: 0 }), [`${lost}${rest}`]);
});
