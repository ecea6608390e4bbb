/**
 * The Terrapin attack (CVE-2023-48795): somebody in between adds a message before there are keys,
 * and takes away the first one after, so that the sequence numbers agree again.
 *
 * The server here is its own attacker: it sends what the client would get.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import process from "node:process";
import { test } from "node:test";
import { configureSync, type LogRecord, resetSync } from "@logtape/logtape";
import ssh2 from "ssh2";
import { DEFAULT_ALGORITHMS } from "../lib/ssh/algorithms.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { parseKexInit, watchKexInit } from "../lib/ssh/kex_init.ts";
import { type AlgorithmChoice, connect } from "../mod.ts";
import { startSshd } from "./support/sshd.ts";
import { skipUnless } from "./support/tools.ts";

/** SSH_MSG_IGNORE with no data, as it goes over the wire while there are no keys. */
const IGNORE = Buffer.from("0000000c" + "06" + "02" + "00000000" + "000000000000", "hex");
const CHACHA = "chacha20-poly1305@openssh.com";
const WEAK: AlgorithmChoice = DEFAULT_ALGORITHMS.cipher.includes(CHACHA)
  ? { cipher: CHACHA }
  : { cipher: "aes128-cbc", hmac: "hmac-sha2-256-etm@openssh.com" };

type Engine = ssh2.Connection & {
  _protocol: {
    _offer: { lists: Lists; constructor: new (lists: unknown) => { lists: Lists } };
    _strictMode: boolean;
    _kex: unknown;
    _cipher: { outSeqno: number };
    _onWrite(data: Buffer): void;
  };
};
type Direction = Record<"cipher" | "mac" | "compress" | "lang", { array: string[] }>;
type Lists = Record<"kex" | "serverHostKey", { array: string[] }> & {
  cs: Direction;
  sc: Direction;
};

/** A server that has strict key exchange or not, and is attacked or not. */
async function server(options: { strict: boolean; attack: "none" | "early" | "late" }) {
  const { privateKey, publicKey } = generateIdentity();
  const offered: string[][] = [];
  const engine = new ssh2.Server({
    hostKeys: [privateKey],
    algorithms: { cipher: ["aes128-cbc", ...DEFAULT_ALGORITHMS.cipher] as never },
  }, (client) => {
    client.on("authentication", (context) => context.accept());
    client.on("error", () => {});
    const protocol = (client as Engine)._protocol;
    if (!options.strict) {
      protocol._strictMode = false;
      protocol._offer = withoutStrict(protocol._offer);
    }
    watchKexInit(protocol as never, (payload) => {
      offered.push([...parseKexInit(payload)?.kex ?? []]);
      return payload;
    });
    if (options.attack === "none") return;
    // KEXINIT is written when this function has ended.
    if (options.attack === "early") protocol._onWrite(IGNORE);
    else process.nextTick(() => protocol._onWrite(IGNORE));
    let exchange: unknown;
    Object.defineProperty(protocol, "_kex", {
      get: () => exchange,
      set: (next: object) => {
        // The message that is taken away: EXT_INFO.
        Object.defineProperty(next, "remoteExtInfoEnabled", { get: () => false, set: () => {} });
        exchange = next;
      },
    });
    client.once("handshake", () => protocol._cipher.outSeqno++);
  });
  engine.listen(0, "127.0.0.1");
  await once(engine, "listening");
  const { port } = engine.address() as { port: number };
  return {
    offered,
    log: (algorithms: AlgorithmChoice) =>
      logged(async () => {
        const tunnel = await connect({
          host: "127.0.0.1",
          port,
          hostKeys: publicKey,
          identityFiles: [],
          agent: "none",
          algorithms,
        });
        await tunnel.close();
      }),
    [Symbol.dispose]: () => void engine.close(),
  };
}

function withoutStrict(offer: Engine["_protocol"]["_offer"]): Engine["_protocol"]["_offer"] {
  const names = ({ cipher, mac, compress, lang }: Direction) => ({
    cipher: cipher.array,
    mac: mac.array,
    compress: compress.array,
    lang: lang.array,
  });
  const { kex, serverHostKey, cs, sc } = offer.lists;
  return new offer.constructor({
    kex: kex.array.filter((name) => !name.startsWith("kex-strict-")),
    serverHostKey: serverHostKey.array,
    cs: names(cs),
    sc: names(sc),
  }) as Engine["_protocol"]["_offer"];
}

/** What is logged at -v during the call. */
async function logged(work: () => Promise<void>): Promise<string[]> {
  const records: LogRecord[] = [];
  configureSync({
    reset: true,
    sinks: { memory: (record) => records.push(record) },
    loggers: [
      { category: "fairlead", sinks: ["memory"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  try {
    await work();
  } finally {
    resetSync();
  }
  return records.map(({ message }) => message.join(""));
}

test("strict key exchange is offered, whatever list the user chose", async () => {
  using peer = await server({ strict: true, attack: "none" });
  await peer.log({});
  await peer.log({ kex: "ecdh-sha2-nistp256" });
  for (const names of peer.offered) assert.ok(names.includes("kex-strict-c-v00@openssh.com"));
  assert.equal(peer.offered.length, 2);
});

test("the attack succeeds against a server without strict key exchange, and it is said", async () => {
  using peer = await server({ strict: false, attack: "late" });
  const log = await peer.log(WEAK);
  const lines = log.filter((line) => /CVE-2023-48795/.test(line));
  assert.equal(lines.length, 1, log.join("\n"));
  assert.match(
    lines[0] ?? "",
    /has no strict key exchange, .* update the server, or use -c aes256/,
  );
});

for (const attack of ["early", "late"] as const) {
  test(`with a strict server a message that comes too ${attack} ends the connection`, async () => {
    using peer = await server({ strict: true, attack });
    await assert.rejects(peer.log(WEAK), {
      name: "SessionError",
      code: "protocol-error",
      message: attack === "early"
        ? /KEXINIT not first packet in strict KEX mode$/
        : /Received unexpected packet type 2$/,
    });
  });
}

test("nothing is said where the server is strict, or the cipher is not concerned", async () => {
  using strict = await server({ strict: true, attack: "none" });
  using lax = await server({ strict: false, attack: "none" });
  for (const log of [await strict.log(WEAK), await lax.log({ cipher: "aes256-ctr" })]) {
    assert.ok(log.length > 0);
    assert.deepEqual(log.filter((line) => /strict/.test(line)), []);
  }
});

test(
  "OpenSSH is strict, and its sequence numbers start again as ours do",
  skipUnless("sshd", "ssh-keygen"),
  async () => {
    await using sshd = await startSshd({ config: ["LogLevel DEBUG3", "Ciphers +aes128-cbc"] });
    // The number is part of what ChaCha20 and the MACs protect.
    for (const algorithms of [WEAK, { cipher: "aes128-ctr", hmac: "hmac-sha2-256" }]) {
      const tunnel = await connect({
        host: sshd.host,
        port: sshd.port,
        username: sshd.user,
        identityFiles: [sshd.identity],
        userKnownHosts: [sshd.knownHosts],
        agent: "none",
        algorithms: { ...algorithms },
      });
      await tunnel.close();
    }
    assert.match(sshd.log(), /will use strict KEX ordering/);
    assert.match(sshd.log(), /resetting (?:send|read) seqnr/);
  },
);
