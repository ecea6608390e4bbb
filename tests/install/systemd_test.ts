/**
 * The units of systemd: systemd-analyze reads them, and the system's command line runs as its
 * manager would run it, as far as that goes without one: the user, its rights, the environment, the
 * credentials and the file system are what the unit says; there is no SystemCallFilter.
 */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { builtBinary } from "../support/binary.ts";
import { ROOT, startFairlead } from "../support/fairlead.ts";
import { publicKey } from "../support/keys.ts";
import { startSshd } from "../support/sshd.ts";
import { digest, echoServer, pattern, transfer } from "../support/tcp.ts";
import {
  descendants,
  need,
  run,
  signalProcess,
  skipUnless,
  type Stoppable,
  stoppable,
  tempDir,
} from "../support/tools.ts";

const UNITS = {
  system: "scripts/systemd/fairlead@.service",
  user: "scripts/systemd/user/fairlead@.service",
};

const asRoot = process.getuid?.() === 0
  ? skipUnless("unshare", "setpriv")
  : { skip: "only root can become somebody else" };

let binary = "";
let folder: { path: string } & Stoppable;

before(async () => {
  binary = await builtBinary();
  folder = await tempDir("fairlead-units-");
  await chmod(folder.path, 0o755);
});
after(() => folder.stop());

for (const [whose, file] of Object.entries(UNITS)) {
  test(
    `systemd has nothing to say about the unit of ${whose}`,
    skipUnless("systemd-analyze"),
    async () => {
      const unit = join(folder.path, whose, "fairlead@mail.service");
      await mkdir(join(folder.path, whose));
      // That the program is there is checked, too.
      await writeFile(unit, (await text(file)).replace(/^(ExecStart=)\S+/m, `$1${binary}`));
      const { status, stdout, stderr } = await run("systemd-analyze", [
        ...["--man=no", `--${whose}`, "verify", unit],
      ], { env: { XDG_RUNTIME_DIR: folder.path, SYSTEMD_LOG_TARGET: "console" } });
      assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
    },
  );
}

test(
  "systemd takes the system's unit for well protected",
  skipUnless("systemd-analyze"),
  async () => {
    const args = ["security", "--offline=true", "--threshold=16", "--no-pager"];
    const { status, stdout } = await run("systemd-analyze", [...args, join(ROOT, UNITS.system)]);
    assert.equal(status, 0, stdout);
  },
);

test(
  "the system's command line is a working tunnel for a user with no rights at all",
  asRoot,
  async () => {
    await using sshd = await startSshd();
    await using peer = await echoServer();
    const unit = settings(await text(UNITS.system));
    const start = await serviceScript(unit, {
      key: await readFile(sshd.identity, "utf8"),
      configuration: {
        HOST_KEY: publicKey(sshd.hostKeys[0]),
        FAIRLEAD_ARGS: `-p ${sshd.port} -L 0:${peer.host}:${peer.port} ${sshd.user}@${sshd.host}`,
      },
    });
    await using program = await startFairlead([], { command: [start, []] });
    // Whoever changes the user is not ended with the one who started it.
    await using _ = stoppable({}, async () => {
      for (const { pid } of descendants(program.pid)) signalProcess(pid, "SIGKILL");
      await program.exited;
    });
    const [inside] = descendants(program.pid);
    const status = await readFile(`/proc/${inside?.pid}/status`, "utf8");
    assert.match(status, /^Uid:\s+61234\s+61234/m);
    for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) {
      assert.match(
        status,
        new RegExp(`^Cap${set}:\\s+0+$`, "m"),
      );
    }
    assert.match(status, /^NoNewPrivs:\s+1$/m);

    const sent = await transfer(program.ports[0] ?? 0, { send: 5_000_003, seed: 5 });
    assert.equal(sent.sha256, digest(pattern(5_000_003, 5)).sha256);
    assert.doesNotMatch(program.stderr(), /mistake|cannot|denied|read-only/i);

    // What SuccessExitStatus= says of a stop.
    signalProcess(inside?.pid ?? -1, "SIGTERM");
    const exit = await program.exited;
    assert.deepEqual(exit, { status: Number(unit.get("SuccessExitStatus")), signal: null });
  },
);

test(
  "a wrong line in the instance's file ends with the status that is not tried again",
  asRoot,
  async () => {
    const unit = settings(await text(UNITS.system));
    const start = await serviceScript(unit, {
      key: "",
      configuration: {
        HOST_KEY: `SHA256:${"A".repeat(43)}`,
        FAIRLEAD_ARGS: "-L nonsense me@127.0.0.1",
      },
    });
    const { status, stderr } = await run(start);
    assert.match(stderr, /nonsense/);
    assert.equal(status, Number(unit.get("RestartPreventExitStatus")));
  },
);

function text(file: string): Promise<string> {
  return readFile(join(ROOT, file), "utf8");
}

/** The settings of a unit; of one that is there more than once, the last. */
function settings(unit: string): Map<string, string> {
  return new Map(
    [...unit.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );
}

/** A script that starts the service as the unit says. */
async function serviceScript(
  unit: Map<string, string>,
  { key, configuration }: { key: string; configuration: Record<string, string> },
): Promise<string> {
  const [name, source] = unit.get("LoadCredential")?.split(":") ?? [];
  assert.equal(source, "/etc/fairlead/%i.key");
  assert.equal(unit.get("EnvironmentFile"), "/etc/fairlead/%i.conf");
  const kept = join(folder.path, "key");
  await writeFile(kept, key);
  const credentials = "/run/credentials/fairlead@mail.service";
  const variables: Record<string, string> = {
    ...{ PATH: "/usr/local/bin:/usr/bin", LANG: "C.UTF-8", HOME: "/", SHELL: "/usr/sbin/nologin" },
    ...{ USER: "fairlead-mail", LOGNAME: "fairlead-mail", CREDENTIALS_DIRECTORY: credentials },
    ...configuration,
  };
  // systemd.service(5): ${NAME} is one word, $NAME is split at blanks.
  const words = (unit.get("ExecStart") ?? "").split(" ").flatMap((word) =>
    /^\$\w+$/.test(word)
      ? (variables[word.slice(1)] ?? "").split(/\s+/)
      : [word.replace(/\$\{(\w+)\}/g, (_, name) => variables[name] ?? "")]
  );
  const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const script = join(folder.path, "service");
  await writeFile(
    script,
    `#!/bin/sh
set -eu
[ -n "\${IN_NAMESPACE:-}" ] || IN_NAMESPACE=1 exec unshare --mount --pid --fork "$0"
mount -t tmpfs tmpfs /run
mkdir -p ${credentials}
cp ${kept} ${credentials}/${name}
# The owner is root, and an access list lets the user read: so the mode looks.
chown 0:61234 ${credentials} ${credentials}/${name}
chmod 550 ${credentials}
chmod 440 ${credentials}/${name}
mount -t tmpfs tmpfs /usr/local/bin
: >/usr/local/bin/fairlead
mount --bind ${binary} /usr/local/bin/fairlead
# ProtectHome=, PrivateTmp=, ProtectProc=, ProcSubset=, ProtectSystem=
for hidden in /root /home; do mount -t tmpfs -o ro,mode=0 tmpfs $hidden; done
for own in /tmp /var/tmp; do mount -t tmpfs tmpfs $own; done
mount -t proc -o subset=pid,hidepid=2 proc /proc
mount -o remount,bind,ro /
umask 077
exec env -i ${environment.map(quoted).join(" ")} ${need("setpriv")} \\
  --reuid=61234 --regid=61234 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
  ${words.map(quoted).join(" ")}
`,
    { mode: 0o755 },
  );
  return script;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
