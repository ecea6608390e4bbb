/**
 * Makes dist/fairlead.mjs: the command line in one file that Deno, Bun and Node run, and that needs
 * nothing else. Import maps do not apply to what is loaded from a URL, so the source cannot.
 */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Made, makeModule } from "./javascript.ts";
import { licences, LICENCES_FILE } from "./licences.ts";
import { runBuild } from "../arguments.ts";
import { DIST } from "./project.ts";

/** Where the bundle lies. */
export const BUNDLE: string = join(DIST, "fairlead.mjs");

/**
 * Makes the bundle.
 *
 * @param options Where it goes, the licences of what is inside beside it, and whether it is made
 *   small at the cost of its lines: names stay, so that traces can be read.
 * @returns What it was made of.
 */
export async function makeBundle(
  { outfile = BUNDLE, minify = false }: { outfile?: string; minify?: boolean } = {},
): Promise<Made> {
  const made = await makeModule({
    entryPoints: ["cli.ts"],
    outfile,
    banner: { js: "#!/usr/bin/env node" },
    minifySyntax: minify,
    minifyWhitespace: minify,
  });
  writeFileSync(join(dirname(outfile), LICENCES_FILE), licences(made.packages));
  return made;
}

if (import.meta.main) {
  await runBuild("build:bundle", async () => {
    await makeBundle();
    return BUNDLE;
  });
}
