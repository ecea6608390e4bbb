/**
 * The forwards of a tunnel, in the short form that is ssh's and in the long one.
 *
 * @module
 */
import { messageOf } from "../errors.ts";
import {
  type ForwardSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
} from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import type { ForwardInput } from "./schema.ts";

/** What is wrong with one. */
export class ForwardMistake extends SyntaxError {
  /** The key that it is about; the forward as a whole where it is missing. */
  readonly key: string | undefined;
  /** What to do. */
  readonly hint: string | undefined;

  /**
   * @param message What is wrong.
   * @param key The key that it is about.
   * @param hint What to do.
   */
  constructor(message: string, key?: string, hint?: string) {
    super(message);
    this.key = key;
    this.hint = hint;
  }
}

const KINDS = ["local", "remote", "dynamic"] as const;
const EXAMPLES = {
  local: "local: 8080:web.internal:80; or local: 8080 and to: web.internal:80",
  remote: "remote: 8080:localhost:3000; or remote: 8080 and to: localhost:3000",
  dynamic: "dynamic: 1080",
};

/**
 * Reads one forward.
 *
 * @param input What the file says.
 * @returns The forward.
 * @throws {ForwardMistake} When it is none.
 */
export function readForward(input: ForwardInput): ForwardRequest {
  const [kind, ...more] = KINDS.filter((kind) => input[kind] !== undefined);
  if (kind === undefined) {
    throw new ForwardMistake(
      "expected one of local, remote and dynamic",
      undefined,
      EXAMPLES.local,
    );
  }
  if (more.length > 0) {
    throw new ForwardMistake(`${kind} and ${more.join(" and ")}: one forward is one of them`);
  }
  const { name, to } = input;
  const text = String(input[kind]);
  const named = name === undefined ? {} : { name };
  if (to === undefined) {
    const spec = { ...parsed(kind, text), ...named };
    return { kind, spec } as ForwardRequest;
  }
  if (kind === "dynamic") {
    throw new ForwardMistake("a dynamic forward leads where its clients say", "to");
  }
  const { listen } = listenOf(kind, text);
  try {
    return { kind, spec: { ...named, listen, destination: parseDestination(String(to)) } };
  } catch (error) {
    throw new ForwardMistake(`found ${JSON.stringify(to)}: ${messageOf(error)}`, "to");
  }
}

function parsed(kind: ForwardRequest["kind"], text: string): ForwardSpec {
  const parse = {
    local: parseLocalForward,
    remote: parseRemoteForward,
    dynamic: parseDynamicForward,
  }[kind];
  try {
    return parse(text);
  } catch (error) {
    // A listen address alone is half of the long form.
    if (kind === "local" && isListen(text)) {
      throw new ForwardMistake("to is missing: where does it lead?", undefined, EXAMPLES.local);
    }
    throw new ForwardMistake(
      `found ${JSON.stringify(text)}: ${messageOf(error)}`,
      kind,
      `as in ${EXAMPLES[kind]}`,
    );
  }
}

function listenOf(kind: "local" | "remote", text: string): Pick<ForwardSpec, "listen"> {
  try {
    if (text.startsWith("/")) return { listen: { path: text } };
    return parseDynamicForward(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const whole = isWhole(kind, text);
    throw whole
      ? new ForwardMistake(`${kind} says already where to`, "to", `leave one of the two out`)
      : new ForwardMistake(`found ${JSON.stringify(text)}: ${messageOf(error)}`, kind);
  }
}

function isListen(text: string): boolean {
  if (text.startsWith("/")) return true;
  try {
    parseDynamicForward(text);
    return true;
  } catch {
    return false;
  }
}

function isWhole(kind: "local" | "remote", text: string): boolean {
  try {
    (kind === "local" ? parseLocalForward : parseRemoteForward)(text);
    return true;
  } catch {
    return false;
  }
}
