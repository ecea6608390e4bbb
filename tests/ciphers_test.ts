/** Every cipher that is offered by default carries what it is given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "../lib/server/server.ts";
import { DEFAULT_ALGORITHMS } from "../lib/ssh/algorithms.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { connect, type ConnectOptions } from "../mod.ts";
import { runtime } from "../lib/runtime.ts";
import { connectHost } from "../lib/ssh/host.ts";
import { systemCrypto } from "../lib/ssh/ciphers/system_crypto.ts";
import { connectOptions } from "./support/fairlead.ts";
import { startSshd } from "./support/sshd.ts";
import { skipUnless } from "./support/tools.ts";
import { CIPHER_PATHS } from "./support/packet_ciphers.ts";
import { echoServer, patternReceived, transfer } from "./support/tcp.ts";

const GCM = "aes128-gcm@openssh.com";
const CHACHA = "chacha20-poly1305@openssh.com";
const BYTES = 4 * 1024 * 1024 + 1;

const others = DEFAULT_ALGORITHMS.cipher.filter((cipher) => cipher.endsWith("-ctr"));
const PATHS = [
  ...CIPHER_PATHS,
  ...others.map((cipher) => ({ name: cipher, cipher, systemCrypto: false })),
];

for (const { name, cipher, systemCrypto: mayUseSystem } of PATHS) {
  test(`${name} carries 4 MiB both ways unchanged`, async () => {
    const { privateKey } = generateIdentity();
    await using server = await serve({ hostKeys: [privateKey], authorize: () => true });
    await using echo = await echoServer();
    await using tunnel = await connect({
      host: server.host,
      port: server.port,
      hostKeys: server.publicKeys,
      privateKeys: [privateKey],
      identitiesOnly: true,
      agent: "none",
      algorithms: { cipher },
      systemCrypto: mayUseSystem,
    });
    await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
    const { bytes, sha256 } = await transfer(forward.port, { send: BYTES });
    assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES, 1));
  });
}

test("the cipher that is fastest here is used, unless the user says another", {
  ...skipUnless("sshd", "ssh-keygen"),
}, async () => {
  // Its own choice, also where the whole suite is put through one cipher.
  await using sshd = await startSshd({ config: [`Ciphers ${CHACHA},${GCM},aes256-ctr`] });
  const used = async (options: Partial<ConnectOptions>) => {
    const before = sshd.log().length;
    const client = await connectHost({
      ...connectOptions(sshd),
      ...options,
    });
    await client.close();
    return /kex: client->server cipher: (\S+)/.exec(sshd.log().slice(before))?.[1];
  };
  const own = runtime.name === "deno" ? CHACHA : GCM;
  assert.equal(await used({}), systemCrypto()?.fast ? GCM : own);
  assert.equal(await used({ systemCrypto: false }), own);
  assert.equal(await used({ algorithms: { cipher: "aes256-ctr" } }), "aes256-ctr");
});
