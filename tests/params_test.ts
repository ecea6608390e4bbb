/** What the background process is asked with, by whoever speaks its protocol. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../lib/control/client.ts";
import { handlersOf } from "../lib/control/handlers.ts";
import { serveControl } from "../lib/control/server.ts";
import { Supervisor } from "../lib/control/supervisor.ts";
import { tempDir } from "./support/tools.ts";

test("requests that no fairlead would make are told what is wrong, and change nothing", async () => {
  await using folder = await tempDir();
  const supervisor = new Supervisor({ version: "1.0.0" });
  const handlers = handlersOf(supervisor, {
    serveMetrics: () => Promise.reject(new Error("asked for")),
  });
  const path = join(folder.path, "s");
  const server = await serveControl(path, handlers, { version: "1.0.0", serves: "tunnels" });
  const client = await connectControl(path);
  assert.ok(client !== undefined);
  const strange: [method: string, params: object, reason: string][] = [
    ["up", {}, "tunnels: expected array"],
    ["up", { tunnels: 5, secrets: {} }, "tunnels: expected array"],
    ["up", { tunnels: [null], secrets: {} }, "tunnels[0]: expected object"],
    ["up", { tunnels: [{ name: 1 }], secrets: {} }, "tunnels[0].name: expected string"],
    [
      "up",
      { tunnels: [], secrets: { mail: { password: 7 } } },
      "secrets.mail.password: expected string",
    ],
    ["up", { tunnels: [], secrets: {}, metrics: 9090 }, "metrics: expected string"],
    ["down", { names: 5 }, "names: expected array"],
    ["down", { names: [{}] }, "names[0]: expected string"],
    ["down", { force: "yes" }, "force: expected boolean"],
    ["reload", {}, "file: expected string"],
    ["restart", { names: "abc" }, "names: expected array"],
    ["add", {}, "tunnel: expected string"],
    [
      "add",
      { tunnel: "x", forward: {} },
      "forward.kind: expected a forward of the kind local, remote or dynamic",
    ],
    [
      "add",
      { tunnel: "x", forward: { kind: "dynamic", spec: { listen: { port: 70_000 } } } },
      "forward.spec.listen.port: expected a port",
    ],
    [
      "add",
      { tunnel: "x", forward: { kind: "dynamic", spec: { listen: "1080" } } },
      "forward.spec.listen: expected a port from 0 to 65535, or a path",
    ],
    ["remove", { tunnel: 7 }, "tunnel: expected string"],
  ];
  for (const [method, params, reason] of strange) {
    await assert.rejects(client.call(method, params), {
      code: "usage",
      message: `a request to ${method}: ${reason}`,
    });
  }
  // What a later version may say besides is passed over.
  assert.deepEqual(await client.call("down", { names: [], later: 1 }), { down: [] });
  assert.deepEqual((await client.ask("status", {})).tunnels, []);
  client.close();
  await server.close();
  await supervisor.close({ force: true });
});
