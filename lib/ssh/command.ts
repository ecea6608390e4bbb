/**
 * A command on the server (RFC 4254 section 6.5): no terminal, no shell session.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import { type Duplex, Readable } from "node:stream";
import { SshChannel } from "./channel.ts";
import type { EngineChannel } from "./ssh2.ts";
import type { Transport } from "./transport.ts";
import type { ChannelWindow } from "./window.ts";

/** How a remote command ended. */
export interface CommandExit {
  /** Its exit status; undefined where a signal ended it, or the server did not say. */
  readonly status: number | undefined;
  /** The signal that ended it, such as `SIGTERM`. */
  readonly signal: string | undefined;
}

/** A command that runs on the server: write its stdin, read its stdout, `end()` sends EOF. */
export interface RemoteCommand extends Duplex {
  /** What the command writes to its standard error. */
  readonly stderr: Readable;
  /** Settles when the channel is closed; the server's last word on how the command ended. */
  readonly exit: Promise<CommandExit>;
}

/** The session channel of a command. */
export class CommandChannel extends SshChannel implements RemoteCommand {
  /** What the command writes to its standard error. */
  readonly stderr: Readable;
  /** Settles when the channel is closed; the last word of the server on how the command ended. */
  readonly exit: Promise<CommandExit>;

  /**
   * @param codec ssh2's channel, whose own streams nobody uses.
   * @param events The same object, which tells how the command ended.
   * @param transport The connection it belongs to.
   * @param window What the server was offered; both streams share it.
   */
  constructor(
    codec: EngineChannel,
    events: EventEmitter,
    transport: Transport,
    window: ChannelWindow,
  ) {
    super(codec, transport, window);
    this.stderr = new ErrorStream(() => this.wasRead());
    codec.stderr.push = (chunk: Buffer | null) => {
      this.onActivity?.();
      if (chunk !== null && (this.destroyed || !this.wasReceived(chunk.length))) return false;
      if (!this.stderr.destroyed) this.stderr.push(chunk);
      this.wasRead();
      return false;
    };
    this.stderr.once("close", () => this.wasRead());
    let ended: CommandExit = { status: undefined, signal: undefined };
    events.once("exit", (status: number | null, signal?: string) => {
      ended = { status: status ?? undefined, signal };
    });
    this.exit = new Promise((resolve) => {
      const receive = codec.push;
      codec.push = (chunk) => {
        const more = receive(chunk);
        // After EOF both ways our own stream is closed already. The status comes after that.
        if (chunk === null && codec.incoming.state === "closed") resolve(ended);
        return more;
      };
    });
  }

  protected override get unread(): number {
    return super.unread + (this.stderr.destroyed ? 0 : this.stderr.readableLength);
  }
}

/** A stream that tells when something was read from it. */
class ErrorStream extends Readable {
  readonly #onRead: () => void;

  constructor(onRead: () => void) {
    super({ read: () => {} });
    this.#onRead = onRead;
  }

  override read(size?: number): Buffer | null {
    const chunk: Buffer | null = super.read(size);
    if (chunk !== null) this.#onRead();
    return chunk;
  }
}
