/** Connections of an SSH connection that is lost. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Dialer, Incoming } from "../lib/dialer.ts";
import { ConnectionError } from "../lib/errors.ts";
import { forwardDynamic } from "../lib/forward/dynamic.ts";
import type { Forward } from "../lib/forward/forward.ts";
import { forwardLocal } from "../lib/forward/local.ts";
import { forwardRemote } from "../lib/forward/remote.ts";
import { connected, logged } from "./support/dialers.ts";
import { tempDir, waitFor } from "./support/tools.ts";

const LISTEN = { bind: "127.0.0.1", port: 0 };
const SOCKS_REQUEST = Buffer.from("050100" + "05010003017800" + "01", "hex");

/** Gives 16 MiB as fast as they are taken and takes nothing, or does neither. */
function channel(busy: boolean): Duplex {
  let left = busy ? 256 : 0;
  return new Duplex({
    read() {
      if (left-- > 0) this.push(Buffer.alloc(65_536));
    },
    write(_chunk, _encoding, done) {
      if (!busy) done();
    },
  });
}

/** Forwards of each kind over this channel; the socket is the near end of its one connection. */
const kinds: Record<string, (channel: Duplex) => Promise<{ forward: Forward; socket: Socket }>> = {
  "-L": async (channel) => {
    const forward = await forwardLocal(
      { name: "test", listen: LISTEN, destination: { host: "far", port: 1 } },
      dialer({ channel }),
    );
    return { forward, socket: await connected(forward.port) };
  },
  "-D": async (channel) => {
    const forward = await forwardDynamic({ name: "test", listen: LISTEN }, dialer({ channel }));
    const socket = await connected(forward.port);
    socket.write(SOCKS_REQUEST);
    return { forward, socket };
  },
  "-R": async (channel) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const accepted = once(server, "connection");
    let enter: ((incoming: Incoming) => void) | undefined;
    const forward = await forwardRemote(
      { name: "test", listen: LISTEN, destination: { host: "127.0.0.1", port } },
      dialer({ onListen: (accept) => enter = accept }),
    );
    enter?.({
      originator: { host: "192.0.2.1", port: 7 },
      accept: () => channel,
      refuse: () => assert.fail("not refused"),
    });
    const [socket] = await accepted;
    server.close();
    return { forward, socket };
  },
};

function dialer(
  { channel, onListen }: {
    channel?: Duplex;
    onListen?: (accept: (incoming: Incoming) => void) => void;
  },
): Dialer {
  return {
    dial: () => channel ? Promise.resolve(channel) : Promise.reject(new Error("not here")),
    listen: (address, accept) => {
      onListen?.(accept);
      return Promise.resolve({ address, close: () => Promise.resolve() });
    },
  };
}

for (const [kind, open] of Object.entries(kinds)) {
  for (const busy of [false, true]) {
    test(`a ${busy ? "stalled" : "quiet"} connection of ${kind} is reset when the SSH connection is lost`, async () => {
      await logged(async (lines) => {
        const stream = channel(busy);
        const { forward, socket } = await open(stream);
        const error = once(socket, "error");
        if (busy) socket.write(Buffer.alloc(16 * 1024 * 1024));
        await waitFor(() => forward.stats.open === 1);
        await sleep(100);
        stream.destroy(new ConnectionError("the link broke", { code: "connection-lost" }));
        await waitFor(() => forward.stats.open === 0, { what: "the end of the connection" });
        socket.resume();
        const [{ code }] = await error;
        assert.match(code, /^(ECONNRESET|EPIPE)$/);
        const { refused, gone, failed, lost } = forward.stats;
        assert.deepEqual({ refused, gone, failed, lost }, {
          refused: 0,
          gone: 0,
          failed: 1,
          lost: 1,
        });
        assert.equal(lines.length, 1);
        assert.match(
          lines[0] ?? "",
          /^warning: -[LDR] test #1 from \S+: the link broke; \d+ bytes/,
        );
        await forward.close();
      });
    });
  }
}

for (const kind of ["TCP", "Unix"] as const) {
  test(`a connection of -R that is lost while a ${kind} socket is dialled leaves none open`, async () => {
    await using folder = await tempDir();
    const server = createServer();
    server.listen(
      kind === "Unix" ? { path: join(folder.path, "s") } : { host: "127.0.0.1", port: 0 },
    );
    await once(server, "listening");
    const address = server.address();
    const destination = typeof address === "string"
      ? { path: address }
      : { host: "127.0.0.1", port: (address as AddressInfo).port };
    const accepted = once(server, "connection");
    await logged(async (lines) => {
      let enter: ((incoming: Incoming) => void) | undefined;
      const forward = await forwardRemote(
        { name: "test", listen: LISTEN, destination },
        dialer({ onListen: (accept) => enter = accept }),
      );
      enter?.({
        originator: { host: "192.0.2.1", port: 7 },
        accept: () => {
          throw new ConnectionError("the link broke", { code: "connection-lost" });
        },
        refuse: () => {},
      });
      const [socket] = await accepted as [Socket];
      socket.on("error", () => {});
      socket.resume();
      await waitFor(() => socket.closed && forward.stats.open === 0);
      assert.deepEqual(lines, ["warning: -R test #1 from 192.0.2.1:7: the link broke"]);
      await forward.close();
    });
    server.close();
  });
}
