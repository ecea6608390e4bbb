/** What README.md tells people to type. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./fairlead.ts";

/** Where the README says that fairlead is to be had. */
export const HOMEPAGE = "https://github.com/fairlead/fairlead";

/**
 * One line of shell from the README's section "Install".
 *
 * @param start What it begins with.
 * @throws {Error} When no line does, or more than one.
 */
export function installLine(start: string): string {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const section = /^## Install\n([\s\S]*?)(?=^## )/m.exec(readme)?.[1] ?? "";
  const blocks = [...section.matchAll(/^```sh\n([\s\S]*?)^```/gm)];
  const lines = blocks.flatMap(([, block = ""]) => block.split("\n"));
  const found = new Set(lines.filter((line) => line.startsWith(start)));
  const [line] = found;
  if (line === undefined || found.size > 1) {
    throw new Error(`${found.size} lines of README.md's "Install" begin with: ${start}`);
  }
  return line;
}
