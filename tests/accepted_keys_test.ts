/** Host keys over several connections of one session. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { rename } from "node:fs/promises";
import { test } from "node:test";
import type { HostKeyVerifier } from "../lib/ssh/host_keys.ts";
import { withAcceptedKeys } from "../lib/ssh/accepted_keys.ts";
import { SessionError } from "../lib/errors.ts";
import { connect, type TunnelOptions } from "../lib/tunnel/tunnel.ts";
import { connectOptions } from "./support/fairlead.ts";
import { makeKey } from "./support/keys.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

function optionsFor(server: SshServer, options: Partial<TunnelOptions>): TunnelOptions {
  return {
    ...connectOptions(server),
    ...options,
  };
}

test("a known_hosts file that is away for a moment does not end a session", skip, async () => {
  await using server = await startSshd();
  await using tunnel = await connect(optionsFor(server, {}));
  await rename(server.knownHosts, `${server.knownHosts}.away`);
  server.signalSessions("SIGKILL");
  await waitFor(() => tunnel.state === "reconnecting");
  await waitFor(() => tunnel.state === "open");
});

test("another key is not accepted for being new, though the first one was", skip, async () => {
  await using server = await startSshd();
  const nowhere = { userKnownHosts: ["/dev/null"], strictHostKeyChecking: "accept-new" as const };
  await using tunnel = await connect(optionsFor(server, nowhere));
  server.signalSessions("SIGKILL");
  await waitFor(() => tunnel.state === "reconnecting");
  await waitFor(() => tunnel.state === "open");
  const other = await makeKey(server.dir, { name: "host_other" });
  const [key] = server.hostKeys;
  await rename(other.path, key?.path ?? "");
  await server.restart();
  const reason = await tunnel.closed;
  assert.equal(reason?.code, "host-key-changed");
  assert.match(reason?.message ?? "", /not the one that this session began with/);
});

test("a key that the files have come to know is accepted beside the first one", async () => {
  const known = new Set(["one"]);
  const strict: HostKeyVerifier = {
    preferredAlgorithms: () => Promise.resolve([]),
    verify: (_name, key) => {
      if (known.has(String(key))) return Promise.resolve();
      return Promise.reject(new SessionError("unknown", { code: "host-key-unknown" }));
    },
  };
  const verifier = withAcceptedKeys(strict, strict, new Map());
  await verifier.verify("host", Buffer.from("one"));
  await assert.rejects(verifier.verify("host", Buffer.from("two")), { code: "host-key-changed" });
  known.add("two");
  await verifier.verify("host", Buffer.from("two"));
  known.clear();
  await verifier.verify("host", Buffer.from("two"));
  await assert.rejects(verifier.verify("host", Buffer.from("one")), { code: "host-key-changed" });
  await assert.rejects(verifier.verify("other", Buffer.from("one")), { code: "host-key-unknown" });
});
