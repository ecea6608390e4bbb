/**
 * Key exchange with a server that shows a host certificate, which ssh2 cannot do (SSH2_NOTES row
 * 13): it is told of the plain key in the certificate and of that key's algorithm, while the
 * exchange hash is over the certificate, as the protocol wants it. Whatever ssh2 did otherwise than
 * we think, the server's signature would not verify, and there would be no connection.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readCertificate } from "./certificate.ts";
import { plainAlgorithm } from "./host_certificate.ts";
import { watchMessages } from "./kex_init.ts";
import { readString } from "./known_hosts.ts";
import { matchesPattern } from "./patterns.ts";
import type { EngineProtocol } from "./ssh2.ts";

/** SSH_MSG_KEXDH_REPLY and SSH_MSG_KEX_ECDH_REPLY; in group exchange that number says less. */
const REPLY = 31;
/** SSH_MSG_KEX_DH_GEX_REPLY (RFC 4419). */
const GROUP_EXCHANGE_REPLY = 33;

/** What of ssh2's protocol machine is used here, and by nobody else. */
interface Machine {
  /** What is offered: the lists that are chosen from, and the bytes that are sent. */
  readonly _offer: {
    totalSize: number;
    readonly lists: {
      all: Buffer;
      serverHostKey: { array: readonly string[]; buffer: Buffer };
    };
  };
  /** The exchange that goes on, or the last one. */
  readonly _kex: Exchange | undefined;
}

interface Exchange {
  readonly negotiated: { readonly kex: string; serverHostKey: string };
  finish(...args: unknown[]): unknown;
}

/**
 * The certificate algorithms to offer.
 *
 * @param preferred What the verifier prefers.
 * @param choice The user's HostKeyAlgorithms, as ssh_config(5) has them.
 * @returns Those of `preferred` that are for certificates, and that the user allows.
 */
export function certificateAlgorithms(preferred: readonly string[], choice = ""): string[] {
  const [, operator = "", list = ""] = /^([+^-]?)(.*)$/s.exec(choice) ?? [];
  const named = (name: string) => list.split(",").some((one) => matchesPattern(name, one));
  const certificates = preferred.filter((name) => plainAlgorithm(name) !== undefined);
  if (operator === "-") return certificates.filter((name) => !named(name));
  return operator === "" && choice !== "" ? certificates.filter(named) : certificates;
}

/**
 * Asks the server for a certificate first, and sees to it that ssh2 can go on when one is shown.
 *
 * @param protocol A client's protocol machine, before it has received anything.
 * @param algorithms The certificate algorithms to offer, best first; none changes nothing.
 * @returns Tells the certificate that the server showed in the last exchange, if any.
 */
export function offerCertificates(
  protocol: EngineProtocol,
  algorithms: readonly string[],
): () => Buffer | undefined {
  let shown: Buffer | undefined;
  if (algorithms.length === 0) return () => undefined;
  const machine = protocol as unknown as Machine;
  offer(machine._offer, algorithms);
  watchMessages(protocol, (payload) => {
    const exchange = machine._kex;
    if (exchange === undefined || payload[0] !== replyOf(exchange)) return payload;
    const { negotiated } = exchange;
    shown = undefined;
    const plain = plainAlgorithm(negotiated.serverHostKey);
    const certificate = readString(payload, 1);
    if (plain === undefined || certificate === undefined) return payload;
    const key = plainKey(certificate);
    // ssh2 then sees for itself that this is no key of the type that was agreed on.
    if (key === undefined) return payload;
    shown = Buffer.from(certificate);
    negotiated.serverHostKey = plain;
    hashOver(exchange, shown, key);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(key.length);
    const rest = payload.subarray(1 + 4 + certificate.length);
    return Buffer.concat([payload.subarray(0, 1), length, key, rest]);
  });
  return () => shown;
}

/** The message in which the server shows its key. */
function replyOf({ negotiated }: Exchange): number {
  return negotiated.kex.startsWith("diffie-hellman-group-exchange-") ? GROUP_EXCHANGE_REPLY : REPLY;
}

function plainKey(certificate: Buffer): Buffer | undefined {
  try {
    return readCertificate(certificate)?.key;
  } catch {
    return undefined;
  }
}

/** Puts the algorithms in front of the host key algorithms, in both forms that ssh2 keeps. */
function offer(offered: Machine["_offer"], algorithms: readonly string[]): void {
  const { lists } = offered;
  const array = [...algorithms, ...lists.serverHostKey.array];
  const buffer = Buffer.from(array.join(","));
  // The key exchange methods come first.
  const start = 4 + lists.all.readUInt32BE(0);
  const end = start + 4 + lists.all.readUInt32BE(start);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(buffer.length);
  lists.all = Buffer.concat([
    lists.all.subarray(0, start),
    length,
    buffer,
    lists.all.subarray(end),
  ]);
  lists.serverHostKey = { array, buffer };
  offered.totalSize = lists.all.length;
}

/**
 * Lets the exchange hash be over the certificate: that is what ssh2's finish() reads the host key
 * for at first. Then it reads it again, to verify the server's signature with.
 */
function hashOver(exchange: Exchange, certificate: Buffer, key: Buffer): void {
  const { finish } = exchange;
  let hashing = false;
  exchange.finish = (...args) => {
    hashing = true;
    return finish.apply(exchange, args);
  };
  Object.defineProperty(exchange, "_hostKey", {
    get: () => {
      const first = hashing;
      hashing = false;
      return first ? certificate : key;
    },
    set: () => {},
  });
}
