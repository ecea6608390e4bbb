/**
 * Jump hosts: one SSH connection inside another (ProxyJump of ssh_config(5)).
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { codeOf, FairleadError, SessionError } from "../errors.ts";
import type { SshClient } from "./client.ts";
import type { Route, RouteOptions } from "./route.ts";
import { dialNext } from "./via.ts";

/** An open connection to a server that others are reached through. */
export interface Hop {
  /** The connection. */
  readonly client: Pick<
    SshClient,
    "dial" | "closed" | "close" | "destroy" | "probe" | "onReceived"
  >;
  /** Which one it is, for people: `jump host 2 of 3 (bob@inner.example.com:22)`. */
  readonly name: string;
}

/** An error that names the jump host where something failed. It names none but that one. */
class HopError extends SessionError {}

/**
 * The error for whoever wanted to go through a jump host.
 *
 * @param name The jump host, for people.
 * @param error What failed there; one that names a jump host already stays as it is.
 * @returns The same code and what to do, with the jump host named.
 */
export function hopFailure(name: string, error: unknown): unknown {
  if (!(error instanceof FairleadError)) return error;
  if (error instanceof HopError || error.code === "cancelled") return error;
  const { code, hint } = error;
  return new HopError(`${name}: ${error.message}`, {
    code,
    ...(hint === undefined ? {} : { hint: adviceForHop(hint) }),
    cause: error,
  });
}

/**
 * Dials the next server from a jump host, which resolves its name.
 *
 * @param hop The jump host; it is closed with the way.
 * @param options The next server, deadline and signal.
 * @returns The way there.
 * @throws {SessionError} When the jump host does not lead there; it names the jump host.
 */
export async function jumpRoute(hop: Hop, options: RouteOptions): Promise<Route> {
  const stream = await dial(hop, options);
  // Only a connection that is lost below gives this error; what the next server does, does not.
  let lost = false;
  stream.once("error", (error) => lost = codeOf(error) === "connection-lost");
  let closing: Promise<void> | undefined;
  return {
    stream,
    explain: async (error) => {
      const reason = lost ? await hop.client.closed : undefined;
      return reason === undefined ? error : hopFailure(hop.name, reason) as SessionError;
    },
    close: () => closing ??= hop.client.close(),
    destroy: () => {
      stream.destroy();
      hop.client.destroy();
    },
  };
}

async function dial(hop: Hop, options: RouteOptions): Promise<Duplex> {
  try {
    return await dialNext(hop.client, options);
  } catch (error) {
    const reason = codeOf(error) === "connection-lost" ? await hop.client.closed : undefined;
    throw hopFailure(hop.name, reason ?? error);
  }
}

/** What a letter says on the command line, a keyword says for a jump host. */
const KEYWORDS: Readonly<Record<string, string>> = {
  "-4": "AddressFamily",
  "-6": "AddressFamily",
  "-b": "BindAddress",
  "-c": "Ciphers",
  "-i": "IdentityFile",
  "-m": "MACs",
  "-p": "Port",
};

/** The command line is the target's: what helps a jump host stands in its own lines. */
function adviceForHop(hint: string): string {
  const [advice = "", ...commands] = hint.split(/(?=`ssh-keygen )/);
  const own = advice.replace(/-o (\w+)=/g, "$1 ").replace(/-o (?=\w)/g, "")
    .replace(/(?<=^|[\s(])-[46bcimp](?=[\s,;)]|$)/g, (letter) => KEYWORDS[letter] ?? letter);
  const where = own === advice ? "" : " (in the jump host's own Host block of ssh_config)";
  return `${own}${commands.join("")}${where}`;
}
