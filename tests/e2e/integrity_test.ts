/** One bit changed on the way to or from a real server, with every cipher that authenticates. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { SessionError } from "../../lib/errors.ts";
import { connectHost } from "../../lib/ssh/host.ts";
import { flippingPath } from "../support/flipping_path.ts";
import { CIPHER_PATHS, loadCiphers } from "../support/packet_ciphers.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

/** More than the largest packet: a length that was changed is waited for. */
const BYTES = 600_000;
const skip = skipUnless("sshd", "ssh-keygen");

/** In a length, in the packet behind it, and somewhere. */
const OFFSETS = [0, 2, 3, 4, 30, 50_000];

await loadCiphers();

for (const path of CIPHER_PATHS) {
  test(
    `${path.name}: a bit changed on the way ends the session, and nothing wrong arrives`,
    skip,
    async () => {
      await using sshd = await startSshd();
      await using echo = await echoServer();
      await using way = await flippingPath(sshd);
      for (const direction of ["up", "down"] as const) {
        for (const offset of OFFSETS) {
          const client = await connectHost({
            host: way.host,
            port: way.port,
            username: sshd.user,
            identityFiles: [sshd.identity],
            userKnownHosts: [sshd.knownHosts],
            strictHostKeyChecking: "no",
            globalKnownHosts: [],
            agent: "none",
            algorithms: { cipher: path.cipher },
            systemCrypto: path.systemCrypto,
          });
          const channel = await client.dial({ host: echo.host, port: echo.port });
          const sent = randomBytes(BYTES);
          const received: Buffer[] = [];
          channel.on("data", (chunk: Buffer) => received.push(chunk));
          const failed = new Promise<Error>((resolve) => channel.once("error", resolve));
          way.flip(direction, offset, randomInt(8));
          channel.end(sent);
          const reason = await client.closed;
          const where = `${direction} ${offset}: ${reason?.message}`;
          assert.ok(reason instanceof SessionError, where);
          // sshd says nothing where it cannot authenticate what it was sent.
          if (direction === "down") assert.match(reason.message, /damaged on the way/, where);
          assert.equal((await failed as SessionError).code, "connection-lost", where);
          const got = Buffer.concat(received);
          assert.ok(got.length < BYTES, where);
          assert.ok(got.equals(sent.subarray(0, got.length)), where);
        }
      }
    },
  );
}
