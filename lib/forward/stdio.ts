/**
 * stdio forwards: `-W` of ssh(1), one channel between two streams that are each open one way.
 *
 * @module
 */
import type { Duplex, Readable, Writable } from "node:stream";
import { type Destination, type Dialer, formatAddress } from "../dialer.ts";
import { logger } from "../log.ts";

const log = logger("forward");

/** The near end of a stdio forward. */
export interface Stdio {
  /** What is sent; nothing where it is missing. */
  readonly input?: Readable | undefined;
  /** Where to write what comes. It is ended as soon as the far end has ended. */
  readonly output: Writable;
}

/** How many bytes went each way. */
export interface StdioResult {
  readonly sent: number;
  readonly received: number;
}

/**
 * Connects two streams to a destination.
 *
 * @param destination Where to.
 * @param dialer What opens the channel.
 * @param stdio The near end.
 * @returns When both directions have ended, or the far end has hung up.
 * @throws {ConnectionError} When the destination is refused or the connection is lost.
 */
export async function forwardStdio(
  destination: Destination,
  dialer: Pick<Dialer, "dial">,
  stdio: Stdio,
): Promise<StdioResult> {
  const channel = await dialer.dial(destination);
  const { sent, received } = await carry(channel, stdio);
  const id = `-W ${formatAddress(destination)}`;
  log.info("{id}: closed; {sent} bytes sent, {received} received", { id, sent, received });
  return { sent, received };
}

/**
 * Carries bytes between a channel and two streams.
 *
 * The end of the input ends the sending side alone, and the far end's EOF ends the output alone.
 * What is slow on one side pauses the other.
 *
 * @param channel The far end.
 * @param stdio The near end.
 * @returns When the channel is closed and all that came is written.
 * @throws What ended the channel, or what kept the output from being written.
 */
export function carry(channel: Duplex, { input, output }: Stdio): Promise<StdioResult> {
  const sending = send(input, channel);
  return new Promise<StdioResult>((resolve, reject) => {
    let received = 0;
    let failure: unknown;
    let open = 2;
    const settle = () => {
      if (--open > 0) return;
      sending.stop();
      if (failure === undefined) resolve({ sent: sending.bytes, received });
      else reject(failure);
    };
    channel.on("data", (chunk: Uint8Array) => {
      received += chunk.length;
      if (!output.write(chunk)) channel.pause();
    });
    channel.once("end", () => output.end());
    channel.on("error", (error) => failure ??= error);
    channel.once("close", () => {
      if (!channel.readableEnded) {
        failure ??= new Error("the connection was closed before its end");
        // Nobody ends it any more: a cut answer must not look like a whole one.
        open = 1;
      }
      settle();
    });
    output.on("drain", () => channel.resume());
    output.once("finish", settle);
    output.on("error", (error) => {
      failure ??= error;
      open = 1;
      if (channel.closed) settle();
      else channel.destroy();
    });
  });
}

/** The direction from the input to the channel. */
function send(input: Readable | undefined, channel: Duplex): { bytes: number; stop(): void } {
  if (input === undefined) {
    channel.end();
    return { bytes: 0, stop: () => {} };
  }
  const data = (chunk: Uint8Array) => {
    if (channel.writableEnded || channel.destroyed) return;
    direction.bytes += chunk.length;
    if (!channel.write(chunk)) input.pause();
  };
  // An input that fails is over, as for ssh: what it gave until then was all.
  const end = () => {
    if (!channel.writableEnded && !channel.destroyed) channel.end();
  };
  const resume = () => void input.resume();
  const direction = {
    bytes: 0,
    stop: () => {
      input.off("data", data).off("end", end).off("close", end).pause();
      channel.off("drain", resume);
    },
  };
  channel.on("drain", resume);
  input.on("data", data).once("end", end).once("close", end).on("error", end);
  return direction;
}
