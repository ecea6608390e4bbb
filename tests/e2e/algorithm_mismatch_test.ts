/** Servers that offer only what is off by default: what they offer, and which option allows it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type AlgorithmChoice, type Algorithms, connect, type ConnectOptions } from "../../mod.ts";
import { runtime } from "../../lib/runtime.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { connectOptions, fairlead, serverOptions } from "../support/fairlead.ts";
import { type SshdOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const CHACHA = "chacha20-poly1305@openssh.com";

function reach(server: SshServer, algorithms: AlgorithmChoice = {}): ConnectOptions {
  return {
    ...connectOptions(server),
    algorithms,
  };
}

const OLD: { what: string; kind: keyof Algorithms; server: SshdOptions; offers: string }[] = [
  {
    what: "key exchange",
    kind: "kex",
    server: { config: ["KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group14-sha1"] },
    offers: "diffie-hellman-group1-sha1, diffie-hellman-group14-sha1",
  },
  {
    what: "host key",
    kind: "serverHostKey",
    server: { config: ["HostKeyAlgorithms ssh-rsa"], hostKeyTypes: ["rsa"] },
    offers: "ssh-rsa",
  },
  {
    what: "cipher",
    kind: "cipher",
    server: { config: ["Ciphers 3des-cbc,aes256-cbc"] },
    offers: "3des-cbc, aes256-cbc",
  },
  {
    what: "MAC",
    kind: "hmac",
    server: { config: ["Ciphers aes128-ctr", "MACs hmac-sha1,umac-64@openssh.com"] },
    offers: "hmac-sha1, umac-64@openssh.com",
  },
];
const OPTIONS: Record<keyof Algorithms, string> = {
  kex: "KexAlgorithms=+diffie-hellman-group14-sha1",
  serverHostKey: "HostKeyAlgorithms=+ssh-rsa",
  cipher: "Ciphers=+aes256-cbc",
  hmac: "MACs=+hmac-sha1",
};

for (const { what, kind, server, offers } of OLD) {
  test(
    `a server with only old ${what} algorithms names the option that lets it in`,
    skip,
    async () => {
      await using sshd = await startSshd(server);
      const where = `${sshd.host}:${sshd.port}`;
      await assert.rejects(connect(reach(sshd)), {
        name: "SessionError",
        code: "algorithm-mismatch",
        message:
          `${where} and fairlead have no ${what} algorithm in common: it offers only ${offers}`,
        hint: `-o ${
          OPTIONS[kind]
        } allows it, but it is off because it is weak: better update the server`,
      });
      const choice = OPTIONS[kind].slice(OPTIONS[kind].indexOf("=") + 1);
      const tunnel = await connect(reach(sshd, { [kind]: choice }));
      await tunnel.close();
    },
  );
}

const IMPOSSIBLE: { what: string; server: SshdOptions; offers: string }[] = [
  { what: "cipher", server: { config: ["Ciphers 3des-cbc"] }, offers: "3des-cbc" },
  {
    what: "MAC",
    server: { config: ["Ciphers aes128-ctr", "MACs umac-64@openssh.com,hmac-md5"] },
    offers: "umac-64@openssh.com, hmac-md5",
  },
];

for (const { what, server, offers } of IMPOSSIBLE) {
  test(`where no option helps against a server's ${what} list, that is said`, skip, async () => {
    await using sshd = await startSshd(server);
    await assert.rejects(connect(reach(sshd)), {
      code: "algorithm-mismatch",
      message: new RegExp(`no ${what} algorithm in common: it offers only ${offers}$`),
      hint: "fairlead can do none of these, whatever the options; " +
        "the server must be updated or its configuration changed",
    });
  });
}

test("a list of the user's that leaves out what the server offers is named", skip, async () => {
  await using sshd = await startSshd({ config: ["Ciphers aes256-ctr"] });
  await assert.rejects(connect(reach(sshd, { cipher: "aes128-ctr" })), {
    message: /it offers only aes256-ctr$/,
    hint: "a list in the options or the configuration leaves it out; " +
      "-o Ciphers=+aes256-ctr allows aes256-ctr",
  });
});

test("ChaCha20 alone works, or the runtime that lacks it is named", skip, async () => {
  await using sshd = await startSshd({ config: [`Ciphers ${CHACHA}`] });
  if (runtime.name !== "bun") return await (await connect(reach(sshd))).close();
  await assert.rejects(connect(reach(sshd)), { hint: /^fairlead can do none of these on bun/ });
});

test("the command line shows both, and its own option works", skip, async () => {
  await using sshd = await startSshd({ config: ["KexAlgorithms diffie-hellman-group14-sha1"] });
  const refused = await fairlead([...serverOptions(sshd), "true"]);
  assert.equal(refused.status, 255);
  assert.match(refused.stderr, /it offers only diffie-hellman-group14-sha1; /);
  const option = /(-o) (KexAlgorithms=\S+) allows it/.exec(refused.stderr)?.slice(1) ?? [];
  const allowed = await fairlead([...option, ...serverOptions(sshd), "true"]);
  assert.deepEqual([allowed.status, allowed.stderr], [0, ""]);
});

test("dropbear's lists are shown as well", skipUnlessDropbear(), async () => {
  await using dropbear = await startDropbear();
  await assert.rejects(connect(reach(dropbear, { kex: "diffie-hellman-group18-sha512" })), {
    code: "algorithm-mismatch",
    message: /no key exchange algorithm in common: it offers only curve25519-sha256, /,
    hint:
      /^a list in the options .* -o KexAlgorithms=\+curve25519-sha256 allows curve25519-sha256$/,
  });
});
