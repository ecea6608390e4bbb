/**
 * A server and fairlead have no algorithm in common: what it offers, and what would help.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import { runtime } from "../runtime.ts";
import {
  type Algorithms,
  DEFAULT_ALGORITHMS,
  KIND_NAMES,
  supportedAlgorithms,
} from "./algorithms.ts";
import { isSign, type KexInit } from "./kex_init.ts";
import { printable } from "./reasons.ts";

/** What ssh2 says, and which of the server's lists it speaks of. */
const KINDS: readonly {
  readonly says: string;
  readonly kind: keyof Algorithms;
  readonly list: keyof KexInit;
}[] = [
  { says: "key exchange algorithm", kind: "kex", list: "kex" },
  { says: "host key format", kind: "serverHostKey", list: "serverHostKey" },
  { says: "C->S cipher", kind: "cipher", list: "cipherOut" },
  { says: "S->C cipher", kind: "cipher", list: "cipherIn" },
  { says: "C->S MAC", kind: "hmac", list: "macOut" },
  { says: "S->C MAC", kind: "hmac", list: "macIn" },
];

/** The keywords of ssh_config(5) that change the lists. */
const KEYWORDS: { readonly [Kind in keyof Algorithms]: string } = {
  kex: "KexAlgorithms",
  serverHostKey: "HostKeyAlgorithms",
  cipher: "Ciphers",
  hmac: "MACs",
};

/** Names of a server's list that are shown. */
const SHOWN = 20;

/**
 * Explains that nothing could be agreed on.
 *
 * @param error What ssh2 says.
 * @param server The server, as people write it.
 * @param offered The server's own lists, where it has sent them.
 * @param ours What it was offered.
 * @returns The error for whoever wanted a session; undefined where it is about something else.
 */
export function mismatch(
  error: Error,
  server: string,
  offered: KexInit | undefined,
  ours: Algorithms | undefined,
): SessionError | undefined {
  const found = KINDS.find(({ says }) => error.message.endsWith(`no matching ${says}`));
  if (found === undefined || offered === undefined || ours === undefined) return undefined;
  const { kind, list } = found;
  const names = offered[list].filter((name) => !isSign(name));
  const shown = printable(names.slice(0, SHOWN).join(", "));
  const offers = names.length === 0 ? "nothing" : `only ${shown}`;
  const what = `${KIND_NAMES[kind]} algorithm`;
  return new SessionError(`${server} and fairlead have no ${what} in common: it offers ${offers}`, {
    code: "algorithm-mismatch",
    hint: advice(kind, names),
    cause: error,
  });
}

function advice(kind: keyof Algorithms, names: readonly string[]): string {
  const best = supportedAlgorithms(kind).find((name) => names.includes(name));
  if (best === undefined) {
    const elsewhere = names.includes("chacha20-poly1305@openssh.com") && kind === "cipher"
      ? ` on ${runtime.name}`
      : "";
    return `fairlead can do none of these${elsewhere}, whatever the options; ` +
      "the server must be updated or its configuration changed";
  }
  const option = `-o ${KEYWORDS[kind]}=+${best}`;
  return DEFAULT_ALGORITHMS[kind].includes(best)
    ? `a list in the options or the configuration leaves it out; ${option} allows ${best}`
    : `${option} allows it, but it is off because it is weak: better update the server`;
}
