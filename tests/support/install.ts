/**
 * What every way to install fairlead is tried with: an empty folder, the files of a release on
 * loopback, and a tunnel to a real sshd through the command line that was installed.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readFile, symlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, delimiter, join } from "node:path";
import process from "node:process";
import { startFairlead } from "./fairlead.ts";
import { type SshServer, startSshd } from "./sshd.ts";
import { digest, echoServer, pattern, transfer } from "./tcp.ts";
import {
  descendants,
  processes,
  run,
  type RunResult,
  signalProcess,
  type Stoppable,
  stoppable,
  tempDir,
  waitFor,
  which,
} from "./tools.ts";

/** What the README's command lines open, and where they go. */
const FORWARD = "1100:mail.example.com:110";
const DESTINATION = "me@other.example.com";

/** More than one window of ssh2's, and no round number. */
const BYTES = 5_000_003;

/** Variables by which whoever runs the tests would have a say in what a newcomer's tools do. */
const OF_THE_TESTER =
  /^(?:npm_|BUN_|DENO_|NODE_OPTIONS$|NODE_PATH$|XDG_|SSH_|INIT_CWD$|FAIRLEAD_(?!TRACE$))/i;

/** Where somebody begins who has nothing. */
export interface EmptyPlace extends Stoppable {
  /** An empty folder to work in. */
  readonly path: string;
  /** An empty home folder. */
  readonly home: string;
  /** The folder with the programs that were asked for, and no others. */
  readonly bin: string;
  /** For a child: this home, the programs that were asked for first on PATH, nothing configured. */
  readonly env: Record<string, string | undefined>;
}

/**
 * Makes an empty folder and an empty home.
 *
 * @param programs Names, and the programs that are to be found by them on PATH before all others.
 */
export async function emptyPlace(programs: Record<string, string> = {}): Promise<EmptyPlace> {
  const folder = await tempDir("fairlead-install-");
  const [path, home, bin] = ["work", "home", "bin"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  await Promise.all([path, home, bin].map((dir) => mkdir(dir)));
  for (const [name, program] of Object.entries(programs)) {
    await symlink(which(program) ?? program, join(bin, name));
  }
  const foreign = Object.keys(process.env).filter((name) => OF_THE_TESTER.test(name));
  const env = {
    ...Object.fromEntries(foreign.map((name) => [name, undefined])),
    HOME: home,
    PATH: [bin, process.env["PATH"]].join(delimiter),
  };
  return stoppable({ path, home, bin, env }, () => folder.stop());
}

/** Files of a release, as GitHub gives them out. */
export interface ReleaseServer extends Stoppable {
  /** Takes the place of `https://github.com/fairlead/fairlead`. */
  readonly url: string;
  /** The paths that were asked for so far, in order. */
  readonly requests: readonly string[];
}

/**
 * Serves the files of a folder as GitHub does those of a release: /releases/latest/download/NAME
 * and /releases/download/TAG/NAME lead by redirects to an address without the file's name, and what
 * comes from there is bytes of no type.
 *
 * @param folder The folder, such as dist.
 * @param change Changes what is given out, as a broken download does.
 */
export async function serveRelease(
  folder: string,
  change: (content: Buffer, name: string) => Uint8Array = (content) => content,
): Promise<ReleaseServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    requests.push(path);
    const latest = /^\/releases\/latest\/download\/([^/?]+)$/.exec(path)?.[1];
    const tagged = /^\/releases\/download\/[^/]+\/([^/?]+)$/.exec(path)?.[1];
    const asset = /^\/assets\/1\?filename=([^/&]+)$/.exec(path)?.[1];
    if (latest !== undefined || tagged !== undefined) {
      const location = latest !== undefined
        ? `/releases/download/v0.0.0/${latest}`
        : `/assets/1?filename=${tagged}`;
      response.writeHead(302, { location }).end();
    } else if (asset === undefined) response.writeHead(404).end("Not Found");
    else {
      readFile(join(folder, asset)).then(
        (content) =>
          response.writeHead(200, {
            "content-type": "application/octet-stream",
            "content-disposition": `attachment; filename=${basename(asset)}`,
          }).end(change(content, asset)),
        () => response.writeHead(404).end("Not Found"),
      );
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable({ url: `http://127.0.0.1:${port}`, requests }, async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
}

/**
 * Runs a line of shell to its end, as somebody types it who follows the README.
 *
 * @param line The line.
 * @param place Where.
 * @param timeout Milliseconds; default 60,000.
 */
export function follow(line: string, place: EmptyPlace, timeout = 60_000): Promise<RunResult> {
  return run("sh", ["-c", line], { cwd: place.path, env: place.env, timeout });
}

/** A tunnel that was found to work. */
export interface Tunnel {
  /** What the command line said. */
  readonly stderr: string;
}

/**
 * Starts a command line of the README, a line of shell with
 * `-L 1100:mail.example.com:110 me@other.example.com` in it, towards a real sshd, and asserts that
 * what goes through the forward comes back byte by byte. Key and host key come from the
 * variables DEPLOY_KEY and HOST_KEY, so that no file is needed.
 *
 * @param line The command line.
 * @param place Where it is run.
 */
export async function assertTunnel(line: string, place: EmptyPlace): Promise<Tunnel> {
  await using server = await startSshd();
  await using peer = await echoServer();
  const aimed = await aim(line, server, peer);
  await using program = await startFairlead([], {
    command: ["sh", ["-c", `exec ${aimed.line}`]],
    cwd: place.path,
    env: { ...place.env, ...aimed.env },
  });
  await assertEcho(program.ports[0] ?? 0);
  assert.equal(peer.connections, 1);

  // A program such as npx may stand before it and end first.
  const all = [program.pid, ...descendants(program.pid).map(({ pid }) => pid)];
  for (const pid of all) signalProcess(pid, "SIGTERM");
  await waitFor(() => !processes().some(({ pid }) => all.includes(pid)), {
    timeout: 10_000,
    what: `the end of: ${aimed.line}`,
  });
  return { stderr: program.stderr() };
}

/**
 * The same with -f: the command line ends, and the tunnel works.
 *
 * @param line The command line, without -f.
 * @param place Where it is run.
 */
export async function assertBackground(line: string, place: EmptyPlace): Promise<void> {
  await using server = await startSshd();
  await using peer = await echoServer();
  const aimed = await aim(line.replace(" -L ", " -f -L "), server, peer);
  const env = { ...place.env, ...aimed.env };
  const { status, stderr } = await follow(aimed.line, { ...place, env });
  const pid = Number(/in the background, as process (\d+)$/m.exec(stderr)?.[1]);
  try {
    assert.equal(status, 0, stderr);
    await assertEcho(Number(/listening on 127\.0\.0\.1:(\d+)/.exec(stderr)?.[1]));
  } finally {
    signalProcess(pid, "SIGTERM");
  }
  await waitFor(() => !processes().some((one) => one.pid === pid), {
    what: `the end of process ${pid}`,
  });
}

/** The line with a server and a destination of the test's in it, and the variables it needs. */
async function aim(
  line: string,
  server: SshServer,
  destination: { readonly host: string; readonly port: number },
): Promise<{ line: string; env: Record<string, string> }> {
  for (const part of [FORWARD, DESTINATION]) {
    assert.ok(line.includes(part), `no ${part} in: ${line}`);
  }
  const options = `-i env:DEPLOY_KEY --host-key env:HOST_KEY -p ${server.port}`;
  return {
    line: line
      .replace(FORWARD, `0:${destination.host}:${destination.port}`)
      .replace(DESTINATION, `${options} ${server.user}@${server.host}`),
    env: {
      DEPLOY_KEY: await readFile(server.identity, "utf8"),
      HOST_KEY: server.hostKeys[0]?.publicLine ?? "",
    },
  };
}

async function assertEcho(port: number): Promise<void> {
  const { bytes, sha256 } = await transfer(port, { send: BYTES, seed: 7 });
  assert.deepEqual({ bytes, sha256 }, digest(pattern(BYTES, 7)));
}
