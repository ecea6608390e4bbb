/** Every cipher that is offered by default carries what it is given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "../lib/server/server.ts";
import { DEFAULT_ALGORITHMS } from "../lib/ssh/algorithms.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { connect } from "../mod.ts";
import { CIPHER_PATHS } from "./support/packet_ciphers.ts";
import { echoServer, patternReceived, transfer } from "./support/tcp.ts";

const BYTES = 4 * 1024 * 1024 + 1;

const others = DEFAULT_ALGORITHMS.cipher.filter((cipher) => cipher.endsWith("-ctr"));
const PATHS = [
  ...CIPHER_PATHS,
  ...others.map((cipher) => ({ name: cipher, cipher, systemCrypto: false })),
];

for (const { name, cipher, systemCrypto } of PATHS) {
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
      systemCrypto,
    });
    await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
    const { bytes, sha256 } = await transfer(forward.port, { send: BYTES });
    assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES, 1));
  });
}
