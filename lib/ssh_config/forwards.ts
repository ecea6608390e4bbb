/**
 * LocalForward, RemoteForward and DynamicForward: they add up, and `-G` prints them as ssh does.
 *
 * @module
 */
import type { Destination } from "../dialer.ts";
import {
  type ForwardSpec,
  type ListenAddress,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
} from "../forward/spec.ts";
import type { Keyword } from "./rules.ts";
import type { ForwardRequest } from "./settings.ts";
import { expandVariables } from "./tokens.ts";

/** LocalForward. */
export const LOCAL_FORWARD: Keyword = forward("local", (text) => ({
  kind: "local",
  spec: parseLocalForward(text),
}));
/** RemoteForward. */
export const REMOTE_FORWARD: Keyword = forward("remote", (text) => ({
  kind: "remote",
  spec: parseRemoteForward(text),
}));
/** DynamicForward. */
export const DYNAMIC_FORWARD: Keyword = forward("dynamic", (text) => ({
  kind: "dynamic",
  spec: parseDynamicForward(text),
}));

/**
 * Puts other paths into the places of a forward's Unix sockets.
 *
 * @param request The forward.
 * @param change What becomes of a path.
 * @returns The forward.
 */
export function mapPaths(
  request: ForwardRequest,
  change: (path: string) => string,
): ForwardRequest {
  const changed = <T extends object>(end: T): T =>
    "path" in end && typeof end.path === "string" ? { ...end, path: change(end.path) } : end;
  const { listen, ...rest } = request.spec;
  const spec = "destination" in rest && rest.destination !== undefined
    ? { ...rest, listen: changed(listen), destination: changed(rest.destination) }
    : { ...rest, listen: changed(listen) };
  return { ...request, spec } as ForwardRequest;
}

function forward(kind: ForwardRequest["kind"], read: (text: string) => ForwardRequest): Keyword {
  return {
    policy: "honoured",
    form: kind === "dynamic" ? "word" : "words",
    apply: (settings, words) => {
      const request = read(expandVariables(joined(words)));
      const same = JSON.stringify(request);
      // As in ssh, the same one is asked for once: a second pass over the files finds them again.
      if (settings.forwards.some((other) => JSON.stringify(other) === same)) return;
      settings.forwards.push(request);
    },
    print: ({ forwards }) =>
      forwards.filter((one) => one.kind === kind).map(({ spec }) => print(kind, spec)),
  };
}

/** In ssh_config the two halves are two words; on the command line a colon joins them. */
function joined(words: readonly string[]): string {
  if (words.length > 2) throw new SyntaxError("expected [bind:]port host:hostport");
  return words.join(":");
}

function print(kind: ForwardRequest["kind"], spec: ForwardSpec): string {
  const listen = printListen(spec.listen);
  if (kind === "dynamic") return listen;
  const destination = "destination" in spec ? spec.destination : undefined;
  return `${listen} ${destination === undefined ? "[socks]:0" : printEnd(destination)}`;
}

function printListen(listen: ListenAddress): string {
  if ("path" in listen) return listen.path;
  return listen.bind === undefined ? `${listen.port}` : `[${listen.bind}]:${listen.port}`;
}

function printEnd(end: Destination): string {
  return "path" in end ? end.path : `[${end.host}]:${end.port}`;
}
