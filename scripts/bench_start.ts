/**
 * What each build takes to start, beside ssh: to its version, and until a forward listens.
 *
 *     deno task bench:start [--rounds N] [--print]
 *
 * It writes the section of docs/benchmarks.md that tells of it; with --print it only prints it.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { ROOT } from "../tests/support/fairlead.ts";
import { startSshd } from "../tests/support/sshd.ts";
import { echoServer } from "../tests/support/tcp.ts";
import { refuseStrangers } from "./arguments.ts";
import { Bystanders } from "./bench/bystanders.ts";
import { machine } from "./bench/document.ts";
import { withSection } from "./bench/section.ts";
import {
  findStarters,
  formatStart,
  type StartFigures,
  startOnce,
  versions,
} from "./bench/starts.ts";

const DOCUMENT = `${ROOT}docs/benchmarks.md`;

const OPTIONS = {
  rounds: { type: "string", default: "15" },
  print: { type: "boolean", default: false },
} as const;

async function main(args: readonly string[]): Promise<void> {
  refuseStrangers(args, OPTIONS);
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const rounds = Number(values.rounds);
  if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 1_000)) {
    throw new Error(`--rounds takes a number from 1 to 1000, not "${values.rounds}"`);
  }
  const starters = await findStarters();
  const figures = starters.map(({ label, size }): StartFigures => ({
    label,
    size,
    version: [],
    listening: [],
  }));
  const bystanders = new Bystanders();
  await using sshd = await startSshd();
  await using echo = await echoServer();
  // The first round does not count: it fills the caches.
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < starters.length; turn++) {
      // None always comes first, when the machine is still warm from the one before.
      const index = (turn + round) % starters.length;
      const [starter, own] = [starters[index], figures[index]];
      if (starter === undefined || own === undefined) continue;
      const took = await bystanders.during(() => startOnce(starter, sshd, echo.port));
      if (round === 0) continue;
      own.version.push(took.version);
      own.listening.push(took.listening);
    }
    console.error(`round ${round} of ${rounds}`);
  }
  const section = formatStart({
    figures,
    date: new Date().toISOString().slice(0, 10),
    others: bystanders.share,
    circumstances: [...versions(starters), machine()],
  });
  console.log(section);
  if (values.print) return;
  writeFileSync(DOCUMENT, withSection(readFileSync(DOCUMENT, "utf8"), section));
  spawnSync(process.execPath, ["fmt", "--quiet", DOCUMENT], { stdio: "inherit" });
}

if (process.argv.includes("--help")) {
  console.log("usage: deno task bench:start [--rounds N] [--print]");
} else {
  await main(process.argv.slice(2)).catch((error) => {
    console.error(`bench:start: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  });
}
