/** How TypeScript and what it imports become one file, for everything that is built. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { build, type BuildOptions, type Plugin } from "esbuild";
import { commit, ROOT, VERSION } from "./project.ts";

/**
 * What `require()` is inside: only what is built in is left of it, and from a URL no real one can
 * be made.
 */
const REQUIRE = `import builtins from "node:process";
const require = (name) => builtins.getBuiltinModule(name);`;

/** What one file was made of. */
export interface Made {
  /** The folders of the packages that are inside, relative to the repository's. */
  readonly packages: readonly string[];
}

/**
 * Makes one ES module that imports nothing but what runtimes have built in.
 *
 * @param options What esbuild is told besides, the entry point and the output file at least.
 * @returns What it was made of.
 * @throws {Error} When it cannot be made; esbuild has said why.
 */
export async function makeModule(options: BuildOptions): Promise<Made> {
  const made = await build({
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node20",
    // A byte a letter: one that takes two makes V8 keep, and read, all of it as two.
    charset: "ascii",
    legalComments: "none",
    logLevel: "warning",
    metafile: true,
    // ssh2 asks whether a class is called "Session"; here two are, and one would be renamed.
    keepNames: true,
    plugins: [noAddons, noAgentsNorFiles, manifest],
    ...options,
    banner: { js: [options.banner?.["js"], REQUIRE].filter(Boolean).join("\n") },
    define: {
      FAIRLEAD_COMMIT: JSON.stringify(commit() ?? "no commit"),
      // poly1305.js looks for a file beside itself only if the module were not inside it.
      __dirname: '""',
      ...options.define,
    },
  });
  // Whole or not at all: tests beside each other make it anew while others of them read it.
  for (const { path, contents } of made.outputFiles ?? []) {
    const partial = `${path}.${process.pid}`;
    mkdirSync(dirname(path), { recursive: true });
    // A program is one from the first moment that it is there.
    const mode = options.banner?.["js"]?.startsWith("#!") ? 0o755 : 0o644;
    writeFileSync(partial, contents, { mode });
    renameSync(partial, path);
  }
  const inputs = Object.keys(made.metafile?.inputs ?? {});
  const packages = inputs.flatMap((path) =>
    /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path)?.[0] ?? []
  );
  return { packages: [...new Set(packages)].sort() };
}

/** ssh2 does without its addon and without cpu-features, which no file of JavaScript can hold. */
const noAddons: Plugin = {
  name: "no addons",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /(?:\.node|^cpu-features)$/ }, ({ path }) => ({
      path,
      namespace: "addon",
    }));
    onLoad({ filter: /.*/, namespace: "addon" }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${path} is not part of this build`)});`,
    }));
  },
};

/**
 * Nothing of ours makes HTTP requests through ssh2, and node:http takes 8 ms of Deno's start; nor
 * transfers files, which is a fifth of ssh2's code. It asks only whether a channel is such a one.
 */
const noAgentsNorFiles: Plugin = {
  name: "no HTTP agents, no SFTP",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]ssh2[\\/]lib[\\/]http-agents\.js$/ }, () => ({ contents: "" }));
    onLoad({ filter: /[\\/]ssh2[\\/]lib[\\/]protocol[\\/]SFTP\.js$/ }, () => ({
      contents: "exports.SFTP = class SFTP {};",
    }));
  },
};

/** Of deno.json the version is all that a program needs. */
const manifest: Plugin = {
  name: "manifest",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]deno\.json$/ }, () => ({
      contents: JSON.stringify({ version: VERSION }),
      loader: "json",
    }));
  },
};
