/**
 * What the parts of one connection know of each other.
 *
 * @module
 */
import type { Channels } from "./channels.ts";
import type { ForwardingPolicy } from "./policy.ts";

/** One client, as those who forward for it see it. */
export interface Context {
  /** The client's address, for the log. */
  readonly peer: string;
  /** Who the client came in as. */
  readonly username: string;
  /** Whether nothing can be sent any more: ssh2 throws where one tries. */
  readonly lost: boolean;
  /** Whether nothing new is to begin. */
  readonly draining: boolean;
  /** Aborts when the connection is over. */
  readonly gone: AbortSignal;
  /** Its channels. */
  readonly channels: Channels;
  /** What it may do. */
  readonly policy: ForwardingPolicy;
  /** Tells the client something that `ssh -v` shows. */
  readonly tell: (message: string) => void;
  /** Ends the connection: something is wrong with it. */
  readonly fail: (error: unknown) => void;
}
