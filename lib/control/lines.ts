/**
 * JSON, one value a line, over a stream; bounded both ways.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { FairleadError } from "../errors.ts";

/** Bytes that may wait for a peer that does not read. */
const MOST_WAITING = 8 * 1024 * 1024;

const NEWLINE = 0x0a;
const SPACE = 0x20;

/** What a stream of lines is made with. */
export interface LinesOptions {
  /** Bytes of one line that comes in. */
  readonly most: number;
  /** Called with the first piece, where it can be the beginning of a line. */
  readonly onBegin?: () => void;
  /** Called with each value. */
  readonly onValue: (value: unknown) => void;
  /** Called once, when no more can come: with what is wrong, or nothing at the stream's end. */
  readonly onEnd: (error: FairleadError | undefined) => void;
}

/** Values that go out and come in. */
export interface Lines {
  /**
   * Sends one value. A peer that reads nothing for long is given up.
   *
   * @param value What JSON can say.
   */
  send(value: object): void;
}

/**
 * Reads and writes lines.
 *
 * @param socket The stream. Its errors are its end.
 * @param options What comes of what is read.
 * @returns What sends.
 */
export function jsonLines(
  socket: Socket,
  { most, onBegin, onValue, onEnd }: LinesOptions,
): Lines {
  let over = false;
  let begun = false;
  const end = (error?: FairleadError) => {
    if (over) return;
    over = true;
    waiting = [];
    socket.off("data", read);
    onEnd(error);
  };
  let waiting: Buffer[] = [];
  let length = 0;
  const read = (chunk: Buffer) => {
    let rest = chunk;
    // Who speaks another protocol may never come to the end of a line: OpenSSH, say.
    const [first = NEWLINE] = rest;
    if (length === 0 && !over && first < SPACE && first !== NEWLINE) {
      return end(protocolError("what came is no JSON"));
    }
    if (!begun) onBegin?.();
    begun = true;
    for (let at = rest.indexOf(10); at >= 0 && !over; at = rest.indexOf(10)) {
      if (length + at > most) return end(tooLong(most));
      const line = Buffer.concat([...waiting, rest.subarray(0, at)]);
      waiting = [];
      length = 0;
      rest = rest.subarray(at + 1);
      take(line);
    }
    if (over || rest.length === 0) return;
    length += rest.length;
    // What is not kept needs no memory: who sends more is cut off.
    if (length > most) return end(tooLong(most));
    waiting.push(rest);
  };
  const take = (line: Buffer) => {
    if (line.length === 0) return;
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
    } catch {
      return end(protocolError("what came is no JSON, in UTF-8 and one value a line"));
    }
    onValue(value);
  };
  socket.on("data", read);
  socket.once("end", () => end());
  socket.once("close", () => end());
  socket.on("error", () => end());
  return {
    send: (value) => {
      if (socket.destroyed || socket.writableEnded) return;
      socket.write(`${JSON.stringify(value)}\n`);
      if (socket.writableLength > MOST_WAITING) socket.destroy();
    },
  };
}

function tooLong(most: number): FairleadError {
  return protocolError(`a line of more than ${most} bytes`);
}

/**
 * An error of somebody who does not speak the protocol.
 *
 * @param message What is wrong.
 * @returns The error.
 */
export function protocolError(message: string): FairleadError {
  return new FairleadError(message, { code: "protocol-error" });
}

/**
 * Whether a value that came in is a mapping.
 *
 * @param value The value.
 * @returns Whether its fields can be asked for.
 */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
