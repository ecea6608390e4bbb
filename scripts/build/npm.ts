/**
 * Makes dist/npm and of it dist/fairlead-fairlead-VERSION.tgz: the package for Node, Bun and Deno.
 *
 *     deno run -A scripts/build/npm.ts
 *
 * All that it needs is inside. ssh2 has an install script and an addon, which nobody shall need;
 * and LogTape keeps its loggers in one place for all copies of it (a global symbol), so that a copy
 * of our own heeds what an application configures with its own.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import source from "../../package.json" with { type: "json" };
import { OLDEST } from "../../lib/runtime.ts";
import { runBuild } from "../arguments.ts";
import { BUNDLE, makeBundle } from "./bundle.ts";
import { writeDeclarations } from "./declarations.ts";
import { makeModule } from "./javascript.ts";
import { licences, LICENCES_FILE } from "./licences.ts";
import { DIST, ROOT, VERSION } from "./project.ts";

/** The folder of the package. */
export const PACKAGE: string = join(DIST, "npm");

/** The same as a file, for `npm install FILE`. */
export const TARBALL: string = join(DIST, `fairlead-fairlead-${VERSION}.tgz`);

const HOME = "https://github.com/fairlead/fairlead";

/** What package.json says. */
const MANIFEST = {
  name: "@fairlead/fairlead",
  version: VERSION,
  description: source.description,
  keywords: ["ssh", "port-forwarding", "tunnel", "socks", "proxy", "deno", "bun"],
  license: "MIT",
  homepage: HOME,
  repository: { type: "git", url: `git+${HOME}.git` },
  bugs: `${HOME}/issues`,
  type: "module",
  bin: { fairlead: "fairlead.mjs" },
  exports: {
    ".": { types: "./mod.d.ts", default: "./mod.js" },
    "./package.json": "./package.json",
  },
  types: "./mod.d.ts",
  files: ["fairlead.mjs", "mod.js", "mod.d.ts", "CHANGELOG.md", LICENCES_FILE],
  engines: { node: `>=${OLDEST.node}`, bun: `>=${OLDEST.bun}`, deno: `>=${OLDEST.deno}` },
  // The types speak of Node's streams and buffers. Who writes JavaScript needs none of it.
  peerDependencies: { "@types/node": ">=20" },
  peerDependenciesMeta: { "@types/node": { optional: true } },
  publishConfig: { access: "public" },
};

/**
 * Makes the package.
 *
 * @returns The tarball's path.
 * @throws {Error} When a part cannot be made.
 */
export async function makePackage(): Promise<string> {
  rmSync(PACKAGE, { recursive: true, force: true });
  mkdirSync(PACKAGE, { recursive: true });

  const program = await makeBundle();
  copyFileSync(BUNDLE, join(PACKAGE, "fairlead.mjs"));
  const library = await makeModule({
    entryPoints: ["mod.ts"],
    outfile: join(PACKAGE, "mod.js"),
  });
  await writeDeclarations(join(PACKAGE, "mod.d.ts"));

  const packages = [...program.packages, ...library.packages];
  writeFileSync(join(PACKAGE, LICENCES_FILE), licences(packages));
  for (const name of ["README.md", "CHANGELOG.md", "LICENSE"]) {
    copyFileSync(join(ROOT, name), join(PACKAGE, name));
  }
  writeFileSync(join(PACKAGE, "package.json"), `${JSON.stringify(MANIFEST, undefined, 2)}\n`);

  const { status, error } = spawnSync("npm", ["pack", "--silent", "--pack-destination", DIST], {
    cwd: PACKAGE,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (error !== undefined) throw new Error(`npm could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`npm pack failed with status ${status}`);
  return TARBALL;
}

if (import.meta.main) await runBuild("build:npm", makePackage);
