/**
 * The destination, as the command line and fairlead.yaml write it.
 *
 * @module
 */
import { applyKeyword } from "./keywords.ts";
import type { Settings } from "./settings.ts";
import { UsageError } from "../errors.ts";

const HOST = /^(?:\[([^\]]+)\]|([^:[\]]*|[^[\]]*:[^[\]]*:[^[\]]*))$/;
const HOST_AND_PORT = /^(?:\[([^\]]+)\]|([^/:[\]]*))(?::(\d+))?$/;

/**
 * Reads `[user@]host` or `ssh://[user@]host[:port]` (ssh(1)).
 *
 * @param settings What was said so far; changed in place.
 * @param text The destination.
 * @throws {UsageError} When it is none.
 */
export function readDestination(settings: Settings, text: string): void {
  const uri = /^ssh:\/\/(.*?)\/?$/.exec(text)?.[1];
  const at = (uri ?? text).lastIndexOf("@");
  const user = at < 0 ? undefined : (uri ?? text).slice(0, at);
  const form = uri === undefined ? HOST : HOST_AND_PORT;
  const [, bracketed, plain, port] = form.exec((uri ?? text).slice(at + 1)) ?? [];
  const host = bracketed ?? plain ?? "";
  if (host === "" || /[\s\p{Cc}]/u.test(host) || host.startsWith("-")) {
    throw new UsageError(
      `${JSON.stringify(text)} is not a destination: expected [user@]host`,
      "a port goes with -p, or as in ssh://host:22",
    );
  }
  if (port !== undefined) applyKeyword(settings, "Port", [port], "the destination's port");
  if (user === "") throw new UsageError(`${JSON.stringify(text)}: the user name is empty`);
  if (user !== undefined) settings.user ??= uri === undefined ? user : decoded(user, text);
  settings.host = host;
}

function decoded(user: string, destination: string): string {
  try {
    return decodeURIComponent(user);
  } catch {
    throw new UsageError(`${JSON.stringify(destination)}: the user name is not a URL's`);
  }
}
