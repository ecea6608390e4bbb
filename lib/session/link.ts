/**
 * One connection to the server, as the session that it belongs to sees it.
 *
 * @module
 */
import type { Dialer } from "../dialer.ts";
import type { SessionError } from "../errors.ts";
import type { RemoteCommand } from "../ssh/command.ts";

/** An open connection. */
export interface Link extends Dialer {
  /** Settles when it is over: undefined after `close()`, otherwise the reason. It never rejects. */
  readonly closed: Promise<SessionError | undefined>;
  /** Channels that are open, being opened, or waiting for the peer's CLOSE. */
  readonly channelCount: number;
  /** Called with every piece that comes in, whatever it is: the peer is alive. */
  onReceived: (() => void) | undefined;
  /**
   * Called when the connection still stands and should be replaced: an exchange of keys that does
   * not come to its end.
   */
  onStalled: ((reason: SessionError) => void) | undefined;
  /** Asks the peer for a sign of life; whatever it answers counts as received. It never throws. */
  probe(): void;
  /**
   * Runs a command on the server.
   *
   * @param command The command line, for the user's shell there.
   * @param options A signal that gives the start up.
   * @returns The command, started.
   */
  exec(command: string, options?: { signal?: AbortSignal }): Promise<RemoteCommand>;
  /** Ends it in order; within a few seconds also where the peer is silent. It never rejects. */
  close(): Promise<void>;
  /**
   * Breaks it off without a word to the peer.
   *
   * @param reason What `closed` settles with.
   */
  destroy(reason?: SessionError): void;
}

/** One attempt to connect. */
export interface Attempt {
  /** Gives it up. */
  readonly signal: AbortSignal;
  /**
   * To be called once a server has said anything: from then on a failure has cost somebody
   * something.
   */
  readonly reached: () => void;
  /**
   * Milliseconds for the server to take the connection, where that should be less than usual: it
   * is tried again anyway.
   */
  readonly reachTimeout: number | undefined;
  /** Whether nobody may be asked for it: what was answered before is all that there is. */
  readonly quiet?: boolean;
}

/** Makes a connection. */
export type Connect = (attempt: Attempt) => Promise<Link>;
