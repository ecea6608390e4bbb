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
 * Makes the bundle, small and so quick to start. Its names stay and its lines are short, so that
 * traces can be read.
 *
 * @param outfile Where it goes; the licences of what is inside lie beside it.
 * @returns What it was made of.
 */
export async function makeBundle(outfile: string = BUNDLE): Promise<Made> {
  const made = await makeModule({
    entryPoints: ["cli.ts"],
    outfile,
    banner: { js: "#!/usr/bin/env node" },
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 120,
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
