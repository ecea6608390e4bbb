/** The types of the library as one file, for those who import the JavaScript. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import ts from "typescript";
import { ROOT } from "./project.ts";

/**
 * Writes the declarations of mod.ts, and of all that it leads to; what only the inside uses, such as
 * the types of ssh2, stays out.
 *
 * @param file Where to.
 * @throws {Error} When something of them cannot be resolved.
 */
export async function writeDeclarations(file: string): Promise<void> {
  const inputs = await rollup({
    input: join(ROOT, "mod.ts"),
    external: [/^node:/, "ssh2"],
    plugins: [dts({
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        lib: ["lib.es2024.d.ts", "lib.esnext.disposable.d.ts"],
        module: ts.ModuleKind.NodeNext,
        moduleResolution: ts.ModuleResolutionKind.NodeNext,
        allowImportingTsExtensions: true,
        types: ["node"],
        strict: true,
        exactOptionalPropertyTypes: true,
        // That is for `deno check` to do.
        noCheck: true,
      },
    })],
    onwarn: (warning) => {
      if (warning.code !== "UNUSED_EXTERNAL_IMPORT") throw new Error(warning.message);
    },
  });
  const { output: [{ code }] } = await inputs.generate({ format: "es" });
  await inputs.close();
  // TypeScript takes Node's types on its own only where it is told to.
  writeFileSync(file, `/// <reference types="node" />\n${code}`);
}
