/**
 * What faults cost the clients of a forward, with fairlead and with autossh, side by side: both
 * lead through the same path to the same sshd, and every fault hits both at the same moment.
 *
 *     deno task bench:recovery
 *
 * It prints a table in Markdown, and takes about two minutes.
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { connectSocket } from "../lib/connect.ts";
import { type SteadyCallers, steadyCallers, type Tally } from "../tests/support/callers.ts";
import { serverOptions, startFairlead } from "../tests/support/fairlead.ts";
import { type FaultStage, faultStage } from "../tests/support/fault_stage.ts";
import { type Reach, usualSshOptions } from "../tests/support/ssh_server.ts";
import { freePort, start, type Stoppable, waitFor, which } from "../tests/support/tools.ts";

/** A dead path is noticed alike by both: after two questions without an answer, 2 s each. */
const KEEPALIVE = ["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=2"];
/** As eager as autossh can be made: it starts ssh again at once, and a silent server is left. */
const AUTOSSH = { AUTOSSH_GATETIME: "0", AUTOSSH_POLL: "1", AUTOSSH_FIRST_POLL: "1" };
const AUTOSSH_OPTIONS = [
  "-M",
  "0",
  "-N",
  "-o",
  "ExitOnForwardFailure=yes",
  "-o",
  "ConnectTimeout=5",
];
/** Milliseconds until a tool has recovered, or never will. */
const PATIENCE = 45_000;
const SECOND = 1_000;

interface Fault {
  readonly name: string;
  /** Milliseconds between its begin and its end. */
  readonly lasts: number;
  /** Milliseconds between two callers; default 50. */
  readonly every?: number;
  /** Reaches the server without the path. */
  readonly direct?: boolean;
  begin(stage: FaultStage): void | Promise<void>;
  end?(stage: FaultStage): void | Promise<void>;
}

function killed(seconds: number, every?: number): Fault {
  return {
    name: `server killed, back after ${seconds} s`,
    lasts: seconds * SECOND,
    direct: true,
    ...(every === undefined ? {} : { every }),
    begin: ({ sshd }) => sshd.down("SIGKILL"),
    end: ({ sshd }) => sshd.up(),
  };
}

const FAULTS: readonly Fault[] = [
  {
    name: "session process killed",
    lasts: 0,
    begin: ({ sshd }) => sshd.signalSessions("SIGKILL"),
  },
  killed(0.1),
  killed(5),
  {
    name: "path reset, refuses for 2 s",
    lasts: 2 * SECOND,
    begin: async ({ path }) => {
      await path.refuse();
      path.reset();
    },
    end: ({ path }) => path.accept(),
  },
  {
    name: "black hole for 15 s",
    lasts: 15 * SECOND,
    begin: ({ path }) => path.stall(),
    end: ({ path }) => path.resume(),
  },
  {
    name: "connection forgotten on the way",
    lasts: 0,
    begin: ({ path }) => path.forget(),
  },
  {
    name: "server frozen for 15 s",
    lasts: 15 * SECOND,
    begin: (stage) => stage.freeze(),
    end: (stage) => stage.thaw(),
  },
];

/** Beside all the others: it takes as long as they do. */
const LONG = killed(60, 250);

/** What one tool made of one fault. */
interface Row {
  readonly fault: string;
  readonly tool: string;
  readonly tally: Tally;
  /** Seconds from the fault's end to the first new byte; undefined where there was none. */
  readonly recovered: number | undefined;
}

async function measure(fault: Fault): Promise<Row[]> {
  await using stage = await faultStage();
  const reach = fault.direct ? stage.sshd : stage.reach;
  await using fairlead = await fairleadOn(stage, reach);
  await using autossh = await autosshOn(stage, reach);
  const tools = [{ name: "fairlead", ...fairlead }, { name: "autossh", ...autossh }];
  const calling = tools.map(({ name, port }) => ({
    name,
    callers: steadyCallers(port, { every: fault.every ?? 50 }),
  }));
  await sleep(SECOND);
  for (const { callers } of calling) callers.fault();
  await fault.begin(stage);
  await sleep(fault.lasts);
  const back = performance.now();
  await fault.end?.(stage);
  return await Promise.all(calling.map(async ({ name, callers }) => ({
    fault: fault.name,
    tool: name,
    recovered: await recovery(fault, callers, back),
    tally: await callers.finish(),
  })));
}

/** Where the server was never away, some answers are on their way when the link is lost. */
const ON_THEIR_WAY = 100;

async function recovery(
  fault: Fault,
  callers: SteadyCallers,
  back: number,
): Promise<number | undefined> {
  const grace = fault.lasts === 0 ? ON_THEIR_WAY : 0;
  try {
    return (grace + await callers.firstByteAfter(back + grace, PATIENCE)) / SECOND;
  } catch {
    return undefined;
  }
}

async function fairleadOn(stage: FaultStage, reach: Reach): Promise<{ port: number } & Stoppable> {
  const run = await startFairlead([
    ...["-L", `0:${stage.to}`, ...KEEPALIVE, ...serverOptions(reach)],
  ]);
  return Object.assign(run, { port: run.ports[0] ?? 0 });
}

async function autosshOn(stage: FaultStage, reach: Reach): Promise<{ port: number } & Stoppable> {
  const port = await freePort();
  const forward = ["-L", `127.0.0.1:${port}:${stage.to}`];
  const run = start("autossh", [
    ...[...AUTOSSH_OPTIONS, ...forward, ...KEEPALIVE, ...usualSshOptions(reach)],
    reach.host,
  ], { env: AUTOSSH });
  await waitFor(async () => {
    const socket = await connectSocket({ host: "127.0.0.1", port }).catch(() => undefined);
    socket?.destroy();
    return socket;
  }, { what: "autossh listening" });
  return Object.assign(run, { port });
}

async function inTurn(faults: readonly Fault[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const fault of faults) rows.push(...await measure(fault));
  return rows;
}

function table(rows: readonly Row[]): string {
  const head = ["fault", "tool", "refused", "lost", "expired", "hung", "served", "first byte (s)"];
  const lines = rows.map(({ fault, tool, recovered, tally }) => [
    fault,
    tool,
    ...[tally.refused, tally.lost, tally.expired, tally.hung, tally.served].map(String),
    recovered?.toFixed(2) ?? `none in ${PATIENCE / SECOND}`,
  ]);
  const cells = [head, head.map(() => "---"), ...lines];
  return cells.map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function version(program: string, ...args: string[]): string {
  const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  return (stdout + stderr).trim().split("\n")[0] ?? "";
}

async function main(): Promise<void> {
  const missing = ["sshd", "ssh", "autossh"].filter((name) => which(name) === undefined);
  if (missing.length > 0) throw new Error(`not installed: ${missing.join(", ")}`);
  const [rows, long] = await Promise.all([inTurn(FAULTS), measure(LONG)]);
  const environment = Object.entries(AUTOSSH).map(([name, value]) => `${name}=${value}`).join(" ");
  console.log(
    [
      `${version("autossh", "-V")}, ${version("ssh", "-V")}: \`${environment} autossh ` +
      `${[...AUTOSSH_OPTIONS, ...KEEPALIVE].join(" ")}\``,
      `fairlead: \`${KEEPALIVE.join(" ")}\`, and otherwise as it is`,
      "",
      table([...rows, ...long]),
    ].join("\n"),
  );
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
