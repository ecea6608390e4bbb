/** The licences of the packages that are inside what is built: each asks to be handed on with it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./project.ts";

/** What the file is called, beside whatever is built. */
export const LICENCES_FILE = "THIRD_PARTY_LICENSES";

/** What is needed of a package's package.json. */
interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
}

/**
 * The text of THIRD_PARTY_LICENSES.
 *
 * @param packages The folders of packages, relative to the repository's, as makeModule() tells them.
 * @returns Each package's name, version and licence, word for word, in order of their names.
 * @throws {Error} When a package comes without its licence.
 */
export function licences(packages: readonly string[]): string {
  const parts = new Map(packages.map((folder) => licence(join(ROOT, folder))));
  const names = [...parts.keys()].sort();
  return [
    "fairlead has parts of these packages inside. Their licences:",
    ...names.map((name) => `${"=".repeat(80)}\n${name}\n\n${parts.get(name)}`),
    "",
  ].join("\n\n");
}

/** Packages that come without the file; what their sources say is kept here. */
const KEPT: Readonly<Record<string, string>> = { "deno-std": "packages/std-yaml/LICENSE" };

function licence(folder: string): [name: string, text: string] {
  const manifest: Manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const kept = KEPT[manifest.name];
  const files = kept !== undefined
    ? [join(ROOT, kept)]
    : readdirSync(folder).filter((file) => /^(?:licen[cs]e|copying|notice)\b/i.test(file))
      .map((file) => join(folder, file));
  if (files.length === 0) {
    throw new Error(`${manifest.name} ${manifest.version} has no licence file in ${folder}`);
  }
  const texts = files.sort().map((file) =>
    readFileSync(file, "utf8").replaceAll("\r\n", "\n").trim()
  );
  const heading = `${manifest.name} ${manifest.version} (${manifest.license ?? "see below"})`;
  return [heading, texts.join("\n\n")];
}
