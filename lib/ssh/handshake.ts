/**
 * From a byte stream to a connection that a server has let us in on: keys, host key, authentication.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { formatAddress } from "../dialer.ts";
import { SessionError } from "../errors.ts";
import { lendPieces } from "../lending.ts";
import { logger } from "../log.ts";
import { type AlgorithmChoice, type Algorithms, chooseAlgorithms } from "./algorithms.ts";
import { Authenticator, type Credentials } from "./auth.ts";
import { PacketDecipher } from "./ciphers/packets.ts";
import { cipherSettings, ciphersReady } from "./ciphers/engine.ts";
import { LARGEST_PACKET } from "./ciphers/settings.ts";
import { systemCrypto } from "./ciphers/system_crypto.ts";
import { certificateAlgorithms, offerCertificates } from "./certificate_exchange.ts";
import type { HostKeyVerifier } from "./host_keys.ts";
import { type KexInit, parseKexInit, watchKexInit } from "./kex_init.ts";
import { engineMethods, offerMethods } from "./kex_methods.ts";
import { hostName } from "./known_hosts.ts";
import { mismatch } from "./mismatch.ts";
import { otherHostKey, printable, sessionFailure } from "./reasons.ts";
import { keepKeysFresh, type RekeyLimit } from "./rekey.ts";
import { type RouteOptions, stepTimeout } from "./route.ts";
import type { EngineClient } from "./ssh2.ts";
import { noteLaxKeyExchange } from "./strict_kex.ts";
import type { Transport } from "./transport.ts";
import { UserAuth } from "./userauth.ts";

const log = logger("ssh");

/** Debug messages of the server that are kept, and characters of each. */
const MAX_SAID = 1_000;
const MAX_SAID_LENGTH = 1_000;
/** How often the deadline of one step may start again before the server has let us in. */
const PATIENCE = 10;

/** Which server it is, how to know it, and how to be known by it. */
export interface HandshakeOptions extends RouteOptions {
  /** The user's name there. */
  readonly username: string;
  /** Judges the server's host key. There is no connection without one. */
  readonly hostKeys: HostKeyVerifier;
  /** Keys, passwords, and whom to ask. */
  readonly credentials: Credentials;
  /** Algorithm lists other than the defaults. */
  readonly algorithms?: AlgorithmChoice;
  /** Whether AES-GCM may be the system's libcrypto's, where it can be called; it may by default. */
  readonly systemCrypto?: boolean;
  /** How long the same keys are used. */
  readonly rekeyLimit?: RekeyLimit;
  /** Milliseconds that a server may be silent while keys are exchanged anew; 120,000 by default. */
  readonly rekeyTimeout?: number;
  /** Milliseconds that an exchange of keys may take before it is called stalled; 10,000 by default. */
  readonly rekeyStallTimeout?: number;
  /** Called with what the server says before authentication (RFC 4252 section 5.4). */
  readonly onBanner?: (text: string) => void;
}

/** What a handshake shares with the connection that comes of it. */
export interface Surroundings {
  /** Takes the server's debug messages, also later. */
  readonly said: string[];
  /** The server's IP address, where it is known. */
  readonly address: string | undefined;
  /** Hears of later exchanges of keys that take too long. */
  readonly onStalled: (reason: SessionError) => void;
}

/**
 * Exchanges keys, knows the server, and is known by it.
 *
 * @param engine ssh2's client, new.
 * @param transport The way to the server.
 * @param options Whom to expect there, and with what to come.
 * @param surroundings What outlives the handshake.
 * @returns When the server has let us in.
 * @throws {SessionError} When any step fails; the code tells which.
 */
export function handshake(
  engine: EngineClient,
  transport: Transport,
  options: HandshakeOptions,
  { said, address, onStalled }: Surroundings,
): Promise<void> {
  const timeout = stepTimeout(options);
  const target = formatAddress(options);
  const name = hostName(options.host, options.port);
  const authenticator = new Authenticator(options.username, options.host, options.credentials);
  return new Promise((resolve, reject) => {
    let asking = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let algorithms: Algorithms | undefined;
    let offered: KexInit | undefined;
    let settled = false;
    const settle = (finish: () => void) => {
      settled = true;
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", cancel);
      engine.off("error", onError);
      engine.off("close", onClose);
      transport.stream.off("data", restart);
      finish();
    };
    const fail = (error: unknown) => settle(() => reject(error));
    const cancel = () => {
      fail(new SessionError(`connecting to ${target} was cancelled`, { code: "cancelled" }));
    };
    // What a server says keeps it alive, but not for ever: messages could drip without an end.
    let patience = performance.now() + PATIENCE * timeout;
    const restart = () => {
      clearTimeout(timer);
      // The data that settled it is still being handed to its other listeners.
      if (asking > 0 || settled) return;
      const left = Math.max(0, Math.min(timeout, patience - performance.now()));
      timer = setTimeout(() => {
        fail(
          new SessionError(`${target} accepted the connection but did not answer in time`, {
            code: "timeout",
            hint:
              "check that this port belongs to an SSH server; -o ConnectTimeout gives it longer",
          }),
        );
      }, left);
    };
    const onError = (error: Error & { level?: string }) => {
      fail(
        mismatch(error, target, offered, algorithms) ??
          sessionFailure(error, target, authenticator.offered()),
      );
    };
    const onClose = () => fail(sessionFailure(undefined, target));

    if (options.signal?.aborted) return cancel();
    options.signal?.addEventListener("abort", cancel, { once: true });
    engine.on("error", onError);
    engine.once("close", onClose);
    engine.once("ready", () => settle(resolve));
    engine.on("banner", (text: string) => options.onBanner?.(text));
    authenticator.onAsking = (begins) => {
      asking += begins ? 1 : -1;
      patience = performance.now() + PATIENCE * timeout;
      restart();
    };

    Promise.all([options.hostKeys.preferredAlgorithms(name), ciphersReady]).then(([preferred]) => {
      // ssh2 hears only what comes after connect(): a server may have hung up while files were read.
      if (transport.lost) return onError(new Error("Connection lost before handshake"));
      const { systemCrypto: mayUseSystem = true } = options;
      const fastAes = mayUseSystem && systemCrypto()?.fast === true;
      algorithms = chooseAlgorithms(options.algorithms, preferred, fastAes);
      let verified: Buffer | undefined;
      engine.connect({
        sock: transport.stream as never,
        username: options.username,
        readyTimeout: 0,
        strictVendor: false,
        algorithms: {
          ...algorithms,
          kex: engineMethods(algorithms.kex),
          compress: ["none"],
        } as never,
        hostVerifier: (plainKey: Buffer, verify: (valid: boolean) => void) => {
          const key = certificate() ?? plainKey;
          // A rekey asks again (SSH2_NOTES row 10); the same key needs no second judgement.
          if (verified?.equals(key)) return verify(true);
          if (verified !== undefined) {
            // Before ssh2's own words; the first reason is the one that counts.
            engine.emit("error", otherHostKey(target));
            return verify(false);
          }
          authenticator.onAsking(true);
          options.hostKeys.verify(name, key, address)
            .finally(() => authenticator.onAsking(false))
            .then(() => {
              verified = Buffer.from(key);
              verify(true);
            })
            .catch((error: unknown) => {
              fail(error);
              verify(false);
            });
        },
      });
      const ciphers = cipherSettings(engine._protocol);
      ciphers.systemCrypto = mayUseSystem;
      ciphers.sendBuffer = transport.sendBuffer;
      // Our ciphers are done with what they are given; ssh2's keep pieces of it for later.
      lendPieces(transport.stream, () => engine._protocol._decipher instanceof PacketDecipher);
      // Nobody has agreed to anything before, nor shown who it is.
      engine.once("ready", () => ciphers.largestPacket = LARGEST_PACKET);
      // After ssh2's own listener, which is there from connect() on.
      transport.stream.once("data", () => options.reached?.());
      watchKexInit(engine._protocol, (payload) => {
        offered = parseKexInit(payload);
        return payload;
      });
      offerMethods(engine._protocol, algorithms.kex);
      noteLaxKeyExchange(engine, target);
      keepKeysFresh(engine, transport, onStalled, {
        limit: options.rekeyLimit,
        silence: options.rekeyTimeout,
        stalled: options.rekeyStallTimeout,
      });
      const certificate = offerCertificates(
        engine._protocol,
        certificateAlgorithms(preferred, options.algorithms?.serverHostKey),
      );
      const userAuth = new UserAuth(engine._protocol, options.username, certificate);
      authenticator.authenticate(userAuth).catch(fail);
      // What ssh2 does not show, and sshd explains its refusals with.
      engine._protocol._handlers.DEBUG = (_protocol, _display, message) => {
        if (said.length < MAX_SAID) said.push(message.slice(0, MAX_SAID_LENGTH));
        log.debug("the server says: {message}", { message: printable(message) });
      };
      // Not before: a peer of another kind could drip bytes for ever.
      engine.once("handshake", () => transport.stream.on("data", restart));
      restart();
    }).catch(fail);
  });
}
