/**
 * Makes dist/fairlead.mjs: the command line in one file that Deno, Bun and Node run, and that needs
 * nothing else. Import maps do not apply to what is loaded from a URL, so the source cannot.
 */
import { chmodSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { type Made, makeModule } from "./javascript.ts";
import { DIST } from "./project.ts";

/** Where the bundle lies. */
export const BUNDLE: string = join(DIST, "fairlead.mjs");

/**
 * Makes the bundle.
 *
 * @param options Where it goes, and whether it is made small at the cost of its lines: names stay,
 *   so that traces can be read.
 * @returns What it was made of.
 */
export async function makeBundle(
  { outfile = BUNDLE, minify = false }: { outfile?: string; minify?: boolean } = {},
): Promise<Made> {
  // At once: tests that run side by side make it anew while others load it.
  const fresh = join(dirname(outfile), `.${basename(outfile)}.${process.pid}`);
  const made = await makeModule({
    entryPoints: ["cli.ts"],
    outfile: fresh,
    banner: { js: "#!/usr/bin/env node" },
    minifySyntax: minify,
    minifyWhitespace: minify,
  });
  chmodSync(fresh, 0o755);
  renameSync(fresh, outfile);
  return made;
}

if (import.meta.main) {
  await makeBundle();
  console.log(BUNDLE);
}
