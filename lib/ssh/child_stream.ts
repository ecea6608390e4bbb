/**
 * A child process's stdin and stdout as one byte stream.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Duplex, type Readable, type Writable } from "node:stream";

type Done = (error?: Error | null) => void;

/**
 * Writes to one stream and reads from another.
 *
 * A process that no longer reads is not yet one that has nothing more to say: what is written to
 * it is dropped, and what it writes counts until its end.
 */
export class ChildStream extends Duplex {
  readonly #stdin: Writable;
  readonly #stdout: Readable;

  /**
   * @param stdin What the process reads.
   * @param stdout What it writes.
   */
  constructor(stdin: Writable, stdout: Readable) {
    super();
    this.#stdin = stdin;
    this.#stdout = stdout;
    stdin.on("error", () => {});
    stdout.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) stdout.pause();
    });
    stdout.once("end", () => this.push(null));
    stdout.on("error", (error) => this.destroy(error));
    // It may fail before anybody listens.
    this.on("error", () => {});
  }

  override _read(): void {
    this.#stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (this.#stdin.destroyed) return done();
    // Neither 'drain' nor the callback comes once the other side is closed.
    const finish = () => {
      this.#stdin.off("close", finish);
      this.#stdin.off("drain", finish);
      done();
    };
    if (this.#stdin.write(chunk)) return done();
    this.#stdin.once("drain", finish);
    this.#stdin.once("close", finish);
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "binary", done);
  }

  override _final(done: Done): void {
    this.#stdin.end();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#stdin.destroy();
    this.#stdout.destroy();
    done(error);
  }
}
