/**
 * This process's stdin, stdout and stderr as streams for data: without blocking the program, and
 * with an end of stdout that whoever is at the other side of a pipe can see.
 *
 * @module
 */
import { close, fstatSync, write } from "node:fs";
import { Socket } from "node:net";
import process from "node:process";
import { type Readable, Writable } from "node:stream";
import type { Stdio } from "../forward/stdio.ts";
import { pipesAreSockets, stderrIsSynchronous } from "../runtime.ts";

const STDOUT = 1;
const STDERR = 2;
/** Bytes that wait to be written before the sender is told to pause. */
const HIGH_WATER = 64 * 1024;
/** Milliseconds until a full pipe that cannot be waited for is tried again. */
const PAUSE = 5;

/**
 * Takes stdin and stdout over. Nobody may use `process.stdout` besides: there is one handle a
 * descriptor.
 *
 * @param options Whether stdin is left alone (`-n` of ssh(1)).
 * @returns The streams.
 */
export function takeStdio(options: { readonly stdinNull: boolean }): Stdio {
  return { input: options.stdinNull ? undefined : process.stdin as Readable, output: stdout() };
}

/**
 * Takes stderr for data; log lines may go there besides.
 *
 * @returns A stream that must not be ended, since that would close stderr.
 */
export function stderr(): Writable {
  if (stderrIsSynchronous && isPipe(STDERR)) return new Socket({ fd: STDERR, readable: false });
  return writer(STDERR);
}

/** `process.stdout` would never close the descriptor, and on Deno it blocks. */
function stdout(): Writable {
  if (!pipesAreSockets || !isPipe(STDOUT)) return writer(STDOUT);
  const socket = new Socket({ fd: STDOUT, readable: false });
  // A pipe cannot be shut down one way: only closing it tells its reader. Node closes every
  // descriptor but those of stdio.
  return socket.once("finish", () => socket.destroy()).once("close", () => {
    close(STDOUT, () => {});
  });
}

type Done = (error?: Error | null) => void;

function writer(descriptor: number): Writable {
  return new Writable({
    highWaterMark: HIGH_WATER,
    write: (chunk, _encoding, done) => put(descriptor, chunk, done),
    final: (done) => close(descriptor, done),
  });
}

function isPipe(descriptor: number): boolean {
  try {
    const status = fstatSync(descriptor);
    return status.isFIFO() || status.isSocket();
  } catch {
    return false; // It is not open: the first write says so.
  }
}

function put(descriptor: number, chunk: Uint8Array, done: Done): void {
  write(descriptor, chunk, 0, chunk.length, null, (error, length) => {
    // Somebody who shares the pipe has made it one that does not wait.
    if (error?.code === "EAGAIN") setTimeout(put, PAUSE, descriptor, chunk, done);
    else if (error) done(error);
    else if (length < chunk.length) put(descriptor, chunk.subarray(length), done);
    else done();
  });
}
