/**
 * Key exchange methods that ssh2 does not have, beside those that it has.
 *
 * ssh2 makes its exchange in a closed function, by name. So it is told of a stand-in: the peer's
 * KEXINIT is shown to it with `curve25519-sha256` where both sides want one of ours, and the object
 * that it makes then is given our numbers. The exchange hash is over what was really sent, the
 * signature of the host key is over that, and a wrong step anywhere ends in a wrong signature.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { HYBRID_METHODS, type HybridMethod } from "./hybrid_kex.ts";
import { isSign, parseKexInit, replaceKex, watchKexInit } from "./kex_init.ts";
import type { EngineExchange, EngineProtocol } from "./ssh2.ts";

/** The method of ssh2's whose messages are most alike. */
const STAND_IN = "curve25519-sha256";

/**
 * What ssh2 is to be told of a list of methods.
 *
 * @param kex The methods, best first.
 * @returns Those that ssh2 has itself; never empty, for it would take that for its own defaults.
 */
export function engineMethods(kex: readonly string[]): readonly string[] {
  const own = kex.filter((name) => !HYBRID_METHODS.has(name));
  return own.length === 0 ? [STAND_IN] : own;
}

/**
 * Offers methods of ours as well, and carries them out, at every exchange of the connection.
 *
 * @param protocol A client's or a server's protocol machine, before it has sent its KEXINIT.
 * @param kex All methods that are offered, best first.
 */
export function offerMethods(protocol: EngineProtocol, kex: readonly string[]): void {
  if (!kex.some((name) => HYBRID_METHODS.has(name))) return;
  offer(protocol, kex);
  let adapt: ((exchange: EngineExchange) => void) | undefined;
  let exchange: EngineExchange | undefined;
  Object.defineProperty(protocol, "_kex", {
    configurable: true,
    get: () => exchange,
    set: (next: EngineExchange) => {
      adapt?.(next);
      exchange = next;
    },
  });
  watchKexInit(protocol, (payload) => {
    const theirs = parseKexInit(payload)?.kex;
    adapt = undefined;
    if (theirs === undefined) return payload;
    // The client's order decides.
    const chosen = protocol._server
      ? theirs.find((name) => kex.includes(name))
      : kex.find((name) => theirs.includes(name));
    const method = HYBRID_METHODS.get(chosen ?? "");
    if (method === undefined && (chosen !== undefined || kex.includes(STAND_IN))) return payload;
    adapt = (next) => {
      next._remoteKexinit = payload;
      if (method === undefined) return;
      next.negotiated.kex = chosen as string;
      next.hashName = method.hash;
      next.convertPublicKey = (key) => key;
      if (protocol._server) answer(next, method);
      else ask(next, method);
    };
    // The first name stays first or goes: a peer's guess must be seen as right or wrong.
    return replaceKex(
      payload,
      theirs.map((name) => name === chosen ? STAND_IN : isSign(name) ? name : "none"),
    );
  });
}

/** Puts the whole list into what is sent; what ssh2 chooses from stays its own. */
function offer(protocol: EngineProtocol, kex: readonly string[]): void {
  const { lists, constructor: KexInit } = protocol._offer;
  const signs = lists.kex.array.filter(isSign);
  const names = ({ cipher, mac, compress, lang }: typeof lists.cs) => ({
    cipher: cipher.array,
    mac: mac.array,
    compress: compress.array,
    lang: lang.array,
  });
  const whole = new KexInit({
    kex: [...kex, ...signs],
    serverHostKey: lists.serverHostKey.array,
    cs: names(lists.cs),
    sc: names(lists.sc),
  });
  const { array } = lists.kex;
  whole.lists.kex.array = array.includes(STAND_IN) ? array : [...array, STAND_IN];
  protocol._offer = whole;
}

function ask(exchange: EngineExchange, method: HybridMethod): void {
  const initiator = method.initiate();
  exchange.getPublicKey = () => initiator.message;
  exchange.computeSecret = (reply) => attempt(() => initiator.finish(reply));
}

function answer(exchange: EngineExchange, method: HybridMethod): void {
  exchange.computeSecret = (message) =>
    attempt(() => {
      const { reply, secret } = method.respond(message);
      // ssh2 asks for it after the secret.
      exchange.getPublicKey = () => reply;
      return secret;
    });
}

/** An error that is returned is what ssh2 takes for a failure, and ends the connection with. */
function attempt(secret: () => Buffer): Buffer | Error {
  try {
    return secret();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
