/**
 * The container image as far as a machine without a container engine allows: the Dockerfile's steps
 * in a clean root folder (tests/support/container.ts), and the README's line for it there.
 */
import assert from "node:assert/strict";
import { chown, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { builtBinary } from "../support/binary.ts";
import { buildImage, type Image, skipUnlessContainers } from "../support/container.ts";
import { ROOT, startFairlead } from "../support/fairlead.ts";
import { assertTunnel, emptyPlace } from "../support/install.ts";
import { installLine } from "../support/readme.ts";
import { startSshd } from "../support/sshd.ts";
import { digest, echoServer, pattern, transfer } from "../support/tcp.ts";
import { descendants, run, signalProcess, stoppable } from "../support/tools.ts";

const DOCKERFILE = join(ROOT, "scripts/container/Dockerfile");

/** The README's line. */
const LINE = installLine("docker run ");

const { skip } = skipUnlessContainers();
const root = process.getuid?.() === 0 ? { skip } : { skip: "only root can change the root folder" };
const options = root.skip === undefined ? {} : { skip: root.skip };

let image: Image | undefined;

before(async () => {
  if (options.skip !== undefined) return;
  image = await buildImage(DOCKERFILE, dirname(await builtBinary()));
});
after(() => image?.stop());

test("the image is a slim Debian, pinned by its digest, and starts the binary as nobody", async () => {
  const text = await readFile(DOCKERFILE, "utf8");
  assert.match(text, /^FROM debian:[a-z]+-\d{8}-slim@sha256:[0-9a-f]{64}$/m);
  assert.match(text, /^USER [1-9]\d{3,}:[1-9]\d{3,}$/m);
  assert.match(text, /^ENTRYPOINT \["\/usr\/local\/bin\/fairlead"\]$/m);
});

test(
  "in the image's steps in a clean root folder, the README's line is a working tunnel",
  options,
  async () => {
    await using place = await emptyPlace({ docker: image?.docker ?? "" });
    const { stderr } = await assertTunnel(LINE, place);
    assert.match(stderr, /listening on /);
  },
);

test(
  "in a clean root folder a user without an account reads the keys that are mounted",
  options,
  async () => {
    await using place = await emptyPlace({ docker: image?.docker ?? "" });
    await using sshd = await startSshd();
    await using peer = await echoServer();
    const ssh = join(place.home, ".ssh");
    await mkdir(ssh, { mode: 0o700 });
    await copyFile(sshd.identity, join(ssh, "id_ed25519"));
    await copyFile(sshd.knownHosts, join(ssh, "known_hosts"));
    await writeFile(
      join(ssh, "config"),
      `Host mail\n  HostName ${sshd.host}\n  Port ${sshd.port}\n`,
    );
    for (const name of ["", "id_ed25519", "known_hosts", "config"]) {
      await chown(join(ssh, name), 4321, 4321);
    }
    const args = `--user 4321 -v ${ssh}:/home/fairlead/.ssh:ro ghcr.io/fairlead/fairlead`;
    const forward = `0:${peer.host}:${peer.port}`;
    await using program = await startFairlead(["-L", forward, `${sshd.user}@mail`], {
      command: [image?.docker ?? "", ["run", "--rm", ...args.split(" ")]],
      env: place.env,
    });
    // Whoever changes the user is not ended with the one who started it.
    await using _ = stoppable({}, async () => {
      for (const { pid } of descendants(program.pid)) signalProcess(pid, "SIGKILL");
      await program.exited;
    });
    const sent = await transfer(program.ports[0] ?? 0, { send: 1_000_003, seed: 3 });
    assert.equal(sent.sha256, digest(pattern(1_000_003, 3)).sha256);

    // As `docker stop` does, to number 1 inside.
    for (const { pid } of descendants(program.pid)) signalProcess(pid, "SIGTERM");
    assert.deepEqual(await program.exited, { status: 143, signal: null });
  },
);

test(
  "in a clean root folder the demo succeeds without an account and without writing",
  options,
  async () => {
    await using place = await emptyPlace({ docker: image?.docker ?? "" });
    const inside = (...args: string[]) =>
      run(image?.docker ?? "", ["run", "--rm", "ghcr.io/fairlead/fairlead", ...args], {
        env: place.env,
      });
    const demo = await inside("demo");
    assert.equal(demo.status, 0, demo.stderr);
    assert.match((await inside("-G", "other.example.com")).stdout, /^user 65532$/m);
    assert.match(
      (await inside("-E", "/log", "other.example.com")).stderr,
      /\/log.*(?:EROFS|read-only)/i,
    );
  },
);
