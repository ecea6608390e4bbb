import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ForwardError } from "../lib/errors.ts";
import { Listener, type ListenOptions } from "../lib/forward/listener.ts";
import { runtime } from "../lib/runtime.ts";
import { freePort, run } from "./support/tools.ts";

const HINT = "check the bind address; without one, fairlead listens on loopback";
const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
const hasIpv6 = own.some(({ address }) => address === "::1");
const loopback = hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
const any = hasIpv6 ? ["::"] : ["0.0.0.0"]; // One socket for both families.

/** A listener that greets with "hello" and then sends back what it gets. */
function greeter(bind: string | undefined, port: number, options?: ListenOptions) {
  return Listener.bind({ ...(bind === undefined ? {} : { bind }), port }, (socket) => {
    socket.write("hello");
    socket.pipe(socket);
  }, options);
}

function portOf(listener: Listener): number {
  const [address] = listener.addresses;
  return address !== undefined && "port" in address ? address.port : 0;
}

async function greeted(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port });
  const [greeting] = await once(socket, "data");
  assert.equal(String(greeting), "hello");
  return socket;
}

/** Asserts that each of these is listened on, on one and the same port, and nothing else is. */
async function assertListens(
  listener: Listener,
  hosts: string[],
  callers = hosts,
): Promise<number> {
  const port = portOf(listener);
  assert.ok(port > 0);
  assert.deepEqual(listener.addresses, hosts.map((host) => ({ host, port })));
  for (const host of callers) (await greeted(host, port)).destroy();
  return port;
}

async function refuses(host: string, port: number): Promise<void> {
  const socket = connect({ host, port });
  const [error] = await once(socket, "error");
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
}

async function failure(
  bind: string | undefined,
  port: number,
  options?: ListenOptions,
): Promise<{ code: string; message: string; hint: string | undefined }> {
  try {
    await (await greeter(bind, port, options)).close();
  } catch (error) {
    assert.ok(error instanceof ForwardError, String(error));
    const { code, message, hint } = error;
    return { code, message, hint };
  }
  throw new Error(`${bind}:${port} was listened on`);
}

test("without a bind address it listens on both loopback addresses, on the port asked for", async () => {
  for (const bind of [undefined, "localhost"]) {
    const port = await freePort();
    const listener = await greeter(bind, port);
    assert.equal(await assertListens(listener, loopback), port);
    await listener.close();
    for (const host of loopback) await refuses(host, port);
  }
});

test("port 0 gives one free port, the same on both loopback addresses", async () => {
  const listeners = await Promise.all(Array.from({ length: 10 }, () => greeter(undefined, 0)));
  const ports = new Set<number>();
  for (const listener of listeners) ports.add(await assertListens(listener, loopback));
  assert.equal(ports.size, 10);
  await Promise.all(listeners.map((listener) => listener.close()));
});

test("without a bind address no other interface can reach it", async () => {
  const outside = own.find(({ internal, family }) => !internal && family === "IPv4")?.address;
  const listener = await greeter(undefined, 0);
  // Every machine has other addresses of loopback, at least.
  await refuses(outside ?? "127.0.0.2", portOf(listener));
  await listener.close();
});

test("* means every interface, on the same port, also where 0 was asked for", async () => {
  const outside = own.filter(({ internal, scopeid }) => !internal && !scopeid)
    .map(({ address }) => address);
  for (const port of [0, await freePort()]) {
    const listener = await greeter("*", port);
    await assertListens(listener, any, [...loopback, ...outside]);
    await listener.close();
  }
});

test("an address family narrows what is listened on", async () => {
  const four = await greeter(undefined, 0, { family: 4 });
  await assertListens(four, ["127.0.0.1"]);
  await four.close();
  const all = await greeter("*", 0, { family: 4 });
  await assertListens(all, ["0.0.0.0"], ["127.0.0.1"]);
  await all.close();
  if (!hasIpv6) return;
  const six = await greeter(undefined, 0, { family: 6 });
  const port = await assertListens(six, ["::1"]);
  await refuses("127.0.0.1", port);
  await six.close();
  for (const [bind, family] of [["*", 6], ["::", undefined]] as const) {
    const all6 = await greeter(bind, 0, family === undefined ? {} : { family });
    const port = await assertListens(all6, ["::"], ["::1"]);
    // Deno 2.9 has no ipv6Only.
    if (runtime.name !== "deno") await refuses("127.0.0.1", port);
    await all6.close();
  }
});

test("an address is listened on as it is given", async () => {
  for (const host of loopback) {
    const listener = await greeter(host, 0);
    const port = await assertListens(listener, [host]);
    for (const other of loopback.filter((address) => address !== host)) await refuses(other, port);
    await listener.close();
  }
});

test("an address in use is said to be in use, also where only one of two is", async () => {
  for (const host of loopback) {
    const squatter = createServer();
    squatter.listen(0, host);
    await once(squatter, "listening");
    const { port } = squatter.address() as AddressInfo;
    assert.deepEqual(await failure(undefined, port), {
      code: "address-in-use",
      message: `cannot listen on localhost:${port}: the address is in use`,
      hint: "another program listens there; choose another port, or 0 for a free one",
    });
    // What was bound before the failure is free again.
    for (const other of loopback.filter((address) => address !== host)) {
      await (await greeter(other, port)).close();
    }
    const where = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    const { message } = await failure(host, port);
    assert.equal(message, `cannot listen on ${where}: the address is in use`);
    squatter.close();
  }
});

test("an address that this machine does not have is said to be missing", async () => {
  assert.deepEqual(await failure("203.0.113.7", 8080), {
    code: "address-not-available",
    message: "cannot listen on 203.0.113.7:8080: this machine has no such address",
    hint: HINT,
  });
  const { code, message } = await failure("2001:db8::7", 0);
  assert.equal(code, "address-not-available");
  assert.equal(message, "cannot listen on [2001:db8::7]:0: this machine has no such address");
});

test("a bind address that cannot be resolved is said to be no host", async () => {
  assert.deepEqual(await failure("no-such-host.invalid", 8080), {
    code: "name-not-found",
    message: "cannot listen on no-such-host.invalid:8080: no such host",
    hint: HINT,
  });
});

/** Some containers allow every port to everybody; there is nothing to see there. */
function unlessPortsAreFree(): { skip?: string } {
  try {
    const first = readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8").trim();
    if (Number(first) > 80) return {};
    return { skip: `every user may listen on ports from ${first} on this machine` };
  } catch {
    return {};
  }
}

test(
  "a privileged port is refused in words, with three ways out",
  unlessPortsAreFree(),
  async () => {
    const script = fileURLToPath(new URL("./support/fixtures/privileged_port.ts", import.meta.url));
    const config = fileURLToPath(new URL("../deno.json", import.meta.url));
    const options = runtime.name === "deno" ? ["run", "-A", "--no-check", "--config", config] : [];
    const { stdout, stderr } = await run(process.execPath, [...options, script]);
    assert.match(stdout, /^\{.*\}\n$/, stderr);
    assert.deepEqual(JSON.parse(stdout), {
      name: "ForwardError",
      code: "privileged-port",
      message: "cannot listen on localhost:80: ports below 1024 need a privilege",
      hint: "use another port, such as 8080; or give the program the capability " +
        "(setcap cap_net_bind_service=+ep); or lower the limit " +
        "(sysctl net.ipv4.ip_unprivileged_port_start=80)",
    });
  },
);

test("a closed listener's port is free at once, every time, also while a connection is open", async () => {
  const port = await freePort();
  const open: Socket[] = [];
  for (let round = 0; round < 20; round++) {
    const listener = await greeter(undefined, port);
    open.push(await greeted("127.0.0.1", port));
    await listener.close();
  }
  for (const socket of open) socket.destroy();
});

test("connections that were accepted before it closed go on, and half-close", async () => {
  const listener = await greeter(undefined, 0);
  const port = portOf(listener);
  const socket = await greeted("127.0.0.1", port);
  await listener.close();
  await refuses("127.0.0.1", port);
  socket.write("still");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "still");
  socket.end(" there");
  const [rest] = await once(socket, "data");
  assert.equal(String(rest), " there");
  await once(socket, "close");
});

test("an accepted socket stays writable after its client has ended", async () => {
  const accepted: Socket[] = [];
  const listener = await Listener.bind({ bind: "127.0.0.1", port: 0 }, (socket) => {
    accepted.push(socket);
  });
  const client = connect({ port: portOf(listener), host: "127.0.0.1" });
  await once(client.end("question"), "connect");
  while (accepted[0] === undefined) await new Promise(setImmediate);
  accepted[0].resume();
  await once(accepted[0], "end");
  accepted[0].end("answer");
  const [answer] = await once(client, "data");
  assert.equal(String(answer), "answer");
  await listener.close();
});
