/**
 * New keys in good time (RFC 4253 section 9): by bytes and by seconds, and at the peer's wish.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { watchKexInit } from "./kex_init.ts";
import type { EngineClient, EngineProtocol } from "./ssh2.ts";
import type { Transport } from "./transport.ts";

const log = logger("ssh");

const GIB = 2 ** 30;

/**
 * Bytes with the same keys when nobody says otherwise, as in OpenSSH: a gigabyte where the cipher's
 * blocks have 8 bytes, as ChaCha20's counter has (RFC 4253 section 9), and 2^32 blocks where they
 * have 16 (RFC 4344 section 3.2). The smallest packet has 36 bytes, so that this keeps sequence
 * numbers below 2^31 as well (section 3.1).
 */
const MOST_BYTES = { small: GIB, large: 64 * GIB };
/** Milliseconds without a byte from the peer while keys are exchanged. */
const SILENCE = 120_000;
/** Milliseconds for a whole exchange, until whoever owns the connection should have another one. */
const STALLED = 10_000;
/** The most that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** How long the same keys are used: RekeyLimit of ssh_config(5). */
export interface RekeyLimit {
  /**
   * Bytes that are sent or received before new keys are made. Without it, and at most, 1 GiB with
   * ChaCha20 and 64 GiB with AES.
   */
  readonly bytes?: number;
  /** Seconds until new keys are made, also where nothing is sent; no limit by default. */
  readonly seconds?: number;
}

/**
 * Looks at what a caller wrote.
 *
 * @param limit The limits.
 * @throws {RangeError} Where one is not a whole number above 0.
 */
export function checkRekeyLimit(limit: RekeyLimit): void {
  for (const [name, value] of Object.entries(limit)) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1)) {
      throw new RangeError(`rekeyLimit.${name} must be a whole number above 0, not ${value}`);
    }
  }
}

/** What may be said about exchanges of keys. */
export interface RekeyOptions {
  /** How long the same keys are used. */
  readonly limit?: RekeyLimit | undefined;
  /** Milliseconds that a server may take between two signs of life during an exchange; 120,000. */
  readonly silence?: number | undefined;
  /** Milliseconds that an exchange may take before it counts as stalled; 10,000. */
  readonly stalled?: number | undefined;
}

/**
 * Makes new keys whenever the limit is reached.
 *
 * @param engine ssh2's client, after `connect()` and before anything was received.
 * @param transport Its stream.
 * @param onStalled Called once in an exchange that takes too long; it goes on all the same.
 * @param options The limits.
 */
export function keepKeysFresh(
  engine: EngineClient,
  transport: Transport,
  onStalled: (reason: SessionError) => void,
  { limit = {}, silence = SILENCE, stalled = STALLED }: RekeyOptions = {},
): void {
  const { _protocol: protocol } = engine;
  let ready = false;
  let most = 0;
  let since = { sent: 0, received: 0 };
  let received = 0;
  let byTime: ReturnType<typeof setTimeout> | undefined;
  let deadline: ReturnType<typeof setTimeout> | undefined;
  let stall: ReturnType<typeof setTimeout> | undefined;

  const watchSilence = () => {
    clearTimeout(deadline);
    deadline = setTimeout(() => transport.stream.destroy(silentServer(silence)), silence);
  };
  const begin = () => {
    transport.hold();
    if (!ready) return;
    watchSilence();
    // Not anew with the peer's KEXINIT, nor with anything else that it sends: nobody can write.
    stall ??= setTimeout(() => onStalled(stalledExchange(stalled)), stalled);
  };
  const rekey = (why: string) => {
    if (!ready || protocol._kexinit !== undefined || transport.lost) return;
    log.debug("new keys after {why}", { why });
    begin();
    protocol.rekey();
  };
  const check = () => {
    if (transport.sent - since.sent >= most) rekey(`${transport.sent - since.sent} bytes sent`);
    else if (received - since.received >= most) {
      rekey(`${received - since.received} bytes received`);
    }
  };

  watchKexInit(protocol, (payload) => {
    begin();
    return payload;
  });
  transport.onFlush = check;
  engine.on("handshake", ({ cs, sc }) => {
    if (most === 0) {
      // Before ssh2's own listener, so that what ends an exchange counts as part of it.
      transport.stream.prependListener("data", (chunk: Uint8Array) => {
        received += chunk.length;
        if (deadline !== undefined) watchSilence();
        check();
      });
    }
    clearTimeout(deadline);
    clearTimeout(stall);
    clearTimeout(byTime);
    deadline = stall = undefined;
    most = Math.min(limit.bytes ?? Infinity, mostBytes([cs.cipher, sc.cipher]));
    since = { sent: transport.sent, received };
    if (limit.seconds !== undefined) {
      const wait = Math.min(limit.seconds * 1000, LONGEST_TIMER);
      byTime = setTimeout(() => rekey(`${limit.seconds} s`), wait);
    }
    transport.resume();
  });
  engine.once("ready", () => ready = true);
  transport.stream.once("close", () => {
    clearTimeout(deadline);
    clearTimeout(stall);
    clearTimeout(byTime);
  });
}

/**
 * Holds a server's channels back while its client exchanges keys: ssh2 would keep all they write.
 *
 * @param engine ssh2's connection from a client that has sent nothing but its version.
 * @param transport Its stream.
 */
export function holdDuringExchange(
  engine: {
    readonly _protocol: EngineProtocol;
    on(event: "handshake", listener: () => void): unknown;
  },
  transport: Transport,
): void {
  watchKexInit(engine._protocol, (payload) => {
    transport.hold();
    return payload;
  });
  engine.on("handshake", () => transport.resume());
}

function mostBytes(ciphers: readonly string[]): number {
  return ciphers.every((name) => name.startsWith("aes")) ? MOST_BYTES.large : MOST_BYTES.small;
}

function stalledExchange(limit: number): SessionError {
  const seconds = limit / 1000;
  return new SessionError(`new keys were not agreed on within ${seconds} s`, { code: "timeout" });
}

function silentServer(silence: number): SessionError {
  const seconds = silence / 1000;
  return new SessionError(`the server fell silent for ${seconds} s while keys were exchanged`, {
    code: "timeout",
    hint: "check the network and the server's log",
  });
}
