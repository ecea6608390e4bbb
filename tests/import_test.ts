/** What ssh forwards already, as a fairlead.yaml. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { runImport } from "../lib/cli/import.ts";
import { commandWords, importCommandLine } from "../lib/cli/import_command_line.ts";
import { readConfig } from "../lib/config/load.ts";
import { settingsOf } from "../lib/config/settings_of.ts";
import { writeTunnels } from "../lib/config/write_tunnels.ts";
import { formatForward, parseLocalForward, parseRemoteForward } from "../lib/forward/spec.ts";
import { loadConfig } from "../lib/config/load.ts";
import type { ForwardRequest } from "../lib/ssh_config/settings.ts";
import { tempDir } from "./support/tools.ts";

const PLACE = { cwd: "/work", home: "/home/me" };

/** What a command line becomes, read again. */
function imported(...words: string[]) {
  const { tunnel, notes } = importCommandLine(words, PLACE);
  const { text, left } = writeTunnels([tunnel]);
  const place = { path: "/work/f.yaml", shown: "f.yaml", home: PLACE.home, environment: {} };
  const [read] = readConfig(text, place).tunnels;
  assert.ok(read !== undefined);
  return { text, notes, left, read };
}

async function ran(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const screen = {
    color: false,
    out: (line: string) => out.push(line),
    err: (line: string) => err.push(line),
  };
  const status = await runImport(args, { screen, trace: undefined, use: () => {} });
  return { status, out, err };
}

test("an ssh command line becomes a tunnel with the same forwards", () => {
  const { text, notes } = imported(
    ..."ssh -NfT -L 1100:mail.example.com:110 -R *:8080:localhost:3000 -D1080 -p 2222".split(" "),
    ..."-i key -J jo@bastion:2200,inner me@other.example.com".split(" "),
  );
  assert.equal(
    text,
    `# yaml-language-server: $schema=.fairlead.schema.json
# fairlead schema > .fairlead.schema.json makes the file that editors read.
version: 1
tunnels:
  other:
    host: me@other.example.com
    port: 2222
    jump:
      - jo@bastion:2200
      - inner
    identity: /work/key
    forwards:
      - local: 1100:mail.example.com:110
      - remote: "*:8080:localhost:3000"
      - dynamic: 1080
`,
  );
  assert.deepEqual(notes, ["left out -N -f -T: a tunnel of fairlead.yaml needs none of it"]);
});

test("what has no key of its own goes to options, and means the same", () => {
  const { text, read, notes } = imported(
    ..."ssh -4 -g -c aes128-ctr -oServerAliveInterval=0 -o".split(" "),
    "StrictHostKeyChecking=no",
    ..."-o UserKnownHostsFile=/dev/null -o RekeyLimit=1G\t1h -o Ciphers=aes256-ctr -o".split(" "),
    "ProxyCommand=nc -x ${PROXY} %h %p",
    ..."-o HostKeyAlias=x -L 0:/run/s.sock a&b@h uptime -p".split(" "),
  );
  assert.match(text, /user: "a&b"\n {4}knownHosts: \/dev\/null\n {4}hostKeyPolicy: "off"/);
  const settings = settingsOf(read);
  assert.deepEqual(
    [settings.user, settings.addressFamily, settings.gatewayPorts, settings.ciphers],
    ["a&b", "inet", true, "aes128-ctr"],
  );
  assert.deepEqual(settings.rekeyLimit, { bytes: 2 ** 30, seconds: 3600 });
  assert.equal(settings.proxyCommand, "nc -x ${PROXY} %h %p");
  assert.equal(settings.serverAliveInterval, 0);
  assert.equal(settings.strictHostKeyChecking, "no");
  assert.deepEqual(notes, ['left out the command "uptime -p": tunnels run none']);
});

test("what autossh and ssh are told besides is left out, each with its reason", () => {
  const { notes, read } = imported(
    ..."AUTOSSH_GATETIME=0 /usr/bin/autossh -M 20000 -AC -S /tmp/c -o ControlMaster=auto".split(
      " ",
    ),
    ..."-o Compression=yes -W a:1 -L 1:a:1 h -N -n".split(" "),
  );
  assert.equal(read.forwards.length, 1);
  assert.deepEqual(notes, [
    "left out -C -N -n: a tunnel of fairlead.yaml needs none of it",
    "left out -M: fairlead watches the link itself",
    "left out -A: fairlead forwards ports, not the agent",
    "left out -S: fairlead up, status and down take its place",
    "left out -o ControlMaster: fairlead up, status and down take its place",
    "left out -o Compression: nothing is compressed; ssh leaves that to the server's choice as well",
    "left out -W: it is about stdin and stdout, and no forward",
  ]);
});

test("a command line that cannot be a tunnel is refused in one line", () => {
  const message = (...words: string[]) => {
    try {
      imported(...words);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(message("scp", "a"), '"scp" is no ssh command line');
  assert.equal(message("ssh", "-L", "1:a:1"), "the command line has no destination: [user@]host");
  assert.equal(message("ssh", "h"), "the command line has no -L, -R or -D");
  assert.equal(message("ssh", "-L"), "-L: the value is missing");
  assert.equal(message("ssh", "-NZ", "h"), "-Z of -NZ is no option of ssh");
  assert.match(message("ssh", "-L", "1:a", "h"), /^-L 1:a: expected/);
  assert.match(message("ssh", "-i", "~/%h", "-L", "1:a:1", "h"), /no tokens such as %h/);
  assert.match(message("ssh", "-L", "/run/%C:a:1", "h"), /no tokens such as %h/);
  assert.match(message("ssh", "-oPrt=1", "-L", "1:a:1", "h"), /-o Prt: no such option/);
  assert.throws(() => commandWords("ssh 'a"), /the command line: the quote ' is not closed/);
});

test("two forwards that want the same port do not both stand in the file", () => {
  const { left, read } = imported("ssh", "-L", "80:a:1", "-L", "80:b:1", "-D", "81", "h");
  assert.deepEqual(left, ["h: local 80:b:1: 80 is also tunnels.h.forwards[0]"]);
  assert.deepEqual(read.forwards.map(({ spec }) => formatForward(spec)), ["80:a:1", "81"]);
});

test("a tunnel is not called as its jump host: it would lead through itself", () => {
  const { read } = imported("ssh", "-J", "bastion", "-L", "1:a:1", "bastion");
  assert.deepEqual([read.name, read.via], ["bastion-2", undefined]);
});

test("whatever is forwarded, the file that import writes forwards the same", () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  const name = fc.stringMatching(/^[a-z][a-z0-9.$%{~-]{0,8}[a-z]$/)
    .filter((text) => !text.includes("${"));
  const path = fc.stringMatching(/^\/[ -~]{1,12}$/).filter((text) =>
    !/[%\]\[]|\$\{/.test(text) && !text.endsWith(" ")
  );
  const host = fc.oneof(name, fc.ipV4(), fc.constantFrom("::1", "2001:db8::7"));
  const bind = fc.oneof(fc.constant(undefined), fc.constant("*"), host);
  const listen = fc.oneof(
    fc.record({ bind, port }, { requiredKeys: ["port"] }).map(({ bind, port }) =>
      bind === undefined ? { port } : { bind, port }
    ),
    path.map((path) => ({ path })),
  );
  const destination = fc.oneof(fc.record({ host, port }), path.map((path) => ({ path })));
  const label = fc.option(fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,9}$/), { nil: undefined });
  const forward = fc.record({
    kind: fc.constantFrom("local", "remote", "dynamic"),
    listen,
    destination,
    label,
  }).map(({ kind, listen, destination, label }) => ({
    kind,
    spec: {
      ...(label === undefined ? {} : { name: label }),
      listen: kind === "dynamic" && "path" in listen ? { port: 1 } : listen,
      ...(kind === "dynamic" ? {} : { destination }),
    },
  } as ForwardRequest));
  const letters = { local: "-L", remote: "-R", dynamic: "-D" };
  fc.assert(
    fc.property(fc.array(forward, { minLength: 1, maxLength: 6 }), (forwards) => {
      const words = forwards.flatMap(({ kind, spec }) => [letters[kind], formatForward(spec)]);
      const { read, left } = imported("ssh", ...words, "me@h.example");
      const said = (all: readonly ForwardRequest[]) =>
        all.map(({ kind, spec }) => `${kind} ${formatForward(spec)}`);
      const missing = left.length;
      const same = said(forwards).filter((one, index, all) => all.indexOf(one) === index);
      assert.equal(read.forwards.length, same.length - missing);
      for (const one of said(read.forwards)) assert.ok(same.includes(one), one);
      if (missing === 0) assert.deepEqual(said(read.forwards), same);
    }),
    { numRuns: 300 },
  );
});

test("hosts of ssh_config become tunnels of their aliases, with the forwards they have", async () => {
  await using folder = await tempDir();
  const config = join(folder.path, "config");
  const file = join(folder.path, "fairlead.yaml");
  writeFileSync(
    config,
    `Host mail
  HostName other.example.com
  LocalForward 1100 mail.example.com:110
  RemoteForward [::1]:8080 localhost:3000
Host socks
  DynamicForward 1080
  LocalForward 1100 again:110
Host plain
  User me
Host *
  Port 2222
`,
  );
  const { status, err } = await ran("--all", "-F", config, "-w", file);
  assert.equal(status, 0);
  assert.deepEqual(err, [
    "fairlead: only as a comment, socks: local 1100:again:110: 1100 is also " +
    "tunnels.mail.forwards[0]",
    `fairlead: wrote ${file}: 2 tunnels`,
  ]);
  const { tunnels } = loadConfig({ file, cwd: folder.path, home: PLACE.home, environment: {} });
  assert.deepEqual(tunnels.map(({ host, configFile }) => [host, configFile]), [
    ["mail", config],
    ["socks", config],
  ]);
  assert.deepEqual(tunnels.map(({ forwards }) => forwards), [
    [
      { kind: "local", spec: parseLocalForward("1100:mail.example.com:110") },
      { kind: "remote", spec: parseRemoteForward("[::1]:8080:localhost:3000") },
    ],
    [{ kind: "dynamic", spec: { listen: { port: 1080 } } }],
  ]);
  await assert.rejects(ran("--all", "-F", config, "-w", file), /exists already/);
  await assert.rejects(ran("-F", config, "plain"), /ssh_config has no forward for plain/);
  await assert.rejects(ran("--all", "-F", config, "mail"), /contradict each other/);
  await assert.rejects(ran(), /what is to be imported\?/);
});

test("a command line may follow --, stand in quotes, or begin with ssh and an option", async () => {
  await using folder = await tempDir();
  let number = 0;
  for (
    const words of [
      ["--", "ssh", "-L", "1:a:1", "h"],
      ["ssh -L 1:a:1 'h'"],
      ["--", "ssh -L 1:a:1 \\\n h &"],
      ["ssh", "-L", "1:a:1", "h"],
    ]
  ) {
    const file = join(folder.path, `${++number}.yaml`);
    assert.equal((await ran("-q", "-w", file, ...words)).status, 0, words.join(" "));
    const { tunnels } = loadConfig({ file, cwd: "/", home: "/", environment: {} });
    assert.equal(tunnels[0]?.host, "h");
  }
  await assert.rejects(ran("mail", "--", "ssh", "-L", "1:a:1", "h"), /imported one by one/);
});
