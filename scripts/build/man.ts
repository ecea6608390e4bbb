/** Makes dist/fairlead.1: the manual page, for releases and packages. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { manualPage } from "../../lib/cli/manual.ts";
import { runBuild } from "../arguments.ts";
import { DIST } from "./project.ts";

/** Where the page lies. */
export const MANUAL: string = join(DIST, "fairlead.1");

/** Writes the page. */
export function makeManual(): void {
  mkdirSync(DIST, { recursive: true });
  writeFileSync(MANUAL, manualPage());
}

if (import.meta.main) {
  await runBuild("build:man", () => {
    makeManual();
    return MANUAL;
  });
}
