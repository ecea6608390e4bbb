/**
 * What can go wrong, as types that a caller can tell apart.
 *
 * Errors are made where they are understood and shown where a person is.
 *
 * @module
 */

/** The stable names of what can go wrong; scripts and callers may compare them. */
export type ErrorCode =
  | "address-in-use"
  | "address-not-available"
  | "agent-failed"
  | "algorithm-mismatch"
  | "auth-failed"
  | "cancelled"
  | "channel-failed"
  | "config-invalid"
  | "connect-failed"
  | "connect-refused"
  | "connection-lost"
  | "connection-reset"
  | "forwarding-prohibited"
  | "host-key-changed"
  | "host-key-revoked"
  | "host-key-unknown"
  | "identity-unreadable"
  | "name-not-found"
  | "not-permitted"
  | "not-supported"
  | "privileged-port"
  | "protocol-error"
  | "resource-shortage"
  | "timeout"
  | "unreachable"
  | "usage";

/** What every {@linkcode FairleadError} is made of. */
export interface ErrorDetails {
  /** The stable name of what went wrong. */
  code: ErrorCode;
  /** What to do next, as one sentence or more; shown below the message. */
  hint?: string;
  /** The error underneath, where there is one. */
  cause?: unknown;
}

/**
 * An error that a caller may want to catch: its `code` is stable, its message says what happened
 * to whom, and its `hint` says what to do next. It never carries a secret.
 *
 * A wrong argument from a programmer is a TypeError or a RangeError instead.
 *
 * @example
 * ```ts
 * import { connect, FairleadError } from "@fairlead/fairlead";
 *
 * try {
 *   await connect({ host: "127.0.0.1", port: 1, hostKeys: `SHA256:${"A".repeat(43)}` });
 * } catch (error) {
 *   if (!(error instanceof FairleadError)) throw error;
 *   console.log(error.code, error.message); // connect-refused …
 * }
 * ```
 */
export class FairleadError extends Error {
  /** The class's name, as JavaScript prints it. */
  override name = "FairleadError";
  /** The stable name of what went wrong. */
  readonly code: ErrorCode;
  /** What to do next, where there is something to say. */
  readonly hint: string | undefined;

  /**
   * Makes one, at the place where what happened is understood.
   *
   * @param message What happened, to whom; starts lower-case, has no full stop at its end.
   * @param details The code, and what else is known.
   */
  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.hint = details.hint;
  }
}

/** An error that ends a session, or keeps it from opening. */
export class SessionError extends FairleadError {
  /** The class's name, as JavaScript prints it. */
  override name = "SessionError";
}

/** An error that ends one forwarded connection, or keeps it from opening; the session goes on. */
export class ConnectionError extends FairleadError {
  /** The class's name, as JavaScript prints it. */
  override name = "ConnectionError";
}

/** An error that keeps a forward from listening. */
export class ForwardError extends FairleadError {
  /** The class's name, as JavaScript prints it. */
  override name = "ForwardError";
}

/** What somebody wrote is wrong: the command line (`usage`), or a file (`config-invalid`). */
export class UsageError extends FairleadError {
  /** The class's name, as JavaScript prints it. */
  override name = "UsageError";

  /**
   * Makes one, at the place where the mistake is understood.
   *
   * @param message What is wrong, and where.
   * @param hint What to do.
   * @param code Which of the two it is.
   */
  constructor(message: string, hint?: string, code: "usage" | "config-invalid" = "usage") {
    super(message, { code, ...(hint === undefined ? {} : { hint }) });
  }
}

/**
 * The stable name of anything that kept a connection from opening.
 *
 * @param error What was thrown.
 * @returns Its code; `connect-failed` where it has none of ours.
 */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof FairleadError ? error.code : "connect-failed";
}

/**
 * The text of anything that was thrown, for a log line or a message.
 *
 * @param error What was thrown.
 * @returns Its message, without a stack trace.
 */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(messageOf).join("; ");
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * A value that a caller wrote and that will not do, for a message.
 *
 * @param value Any value.
 * @returns Text as JSON has it, a bigint as the source has it; of an object only what it is.
 */
export function quoted(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** What the system's names mean where a file is concerned. */
const FILE_WORDS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ENOENT: "it does not exist",
  ENOTDIR: "a part of its path is no folder",
  EROFS: "the file system is read-only",
};

/**
 * Why a file could not be used, in words.
 *
 * @param error What the file system threw.
 * @returns The reason; the error's own message where there is no better word.
 */
export function fileReason(error: unknown): string {
  return FILE_WORDS[systemCodeOf(error) ?? ""] ?? messageOf(error);
}

/**
 * The text of anything that was thrown, with what to do about it.
 *
 * @param error What was thrown.
 * @returns Its message, and its hint where it has one.
 */
export function adviceOf(error: unknown): string {
  const hint = error instanceof FairleadError ? error.hint : undefined;
  return hint === undefined ? messageOf(error) : `${messageOf(error)}; ${hint}`;
}

/**
 * The system's name for what was thrown, such as `ECONNREFUSED`.
 *
 * @param error What was thrown.
 * @returns The `code` property, or undefined where it has none.
 */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
