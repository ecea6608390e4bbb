/**
 * Makes dist/fairlead.mjs: the command line in one file that Deno, Bun and Node run, and that needs
 * nothing else. Import maps do not apply to what is loaded from a URL, so the source cannot.
 */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Made, makeModule } from "./javascript.ts";
import { licences, LICENCES_FILE } from "./licences.ts";
import { DIST } from "./project.ts";

/** Where the bundle lies. */
export const BUNDLE: string = join(DIST, "fairlead.mjs");

/**
 * Makes the bundle.
 *
 * @returns What it was made of.
 */
export async function makeBundle(): Promise<Made> {
  const made = await makeModule({
    entryPoints: ["cli.ts"],
    outfile: BUNDLE,
    banner: { js: "#!/usr/bin/env node" },
  });
  chmodSync(BUNDLE, 0o755);
  writeFileSync(join(DIST, LICENCES_FILE), licences(made.packages));
  return made;
}

if (import.meta.main) {
  await makeBundle();
  console.log(BUNDLE);
}
