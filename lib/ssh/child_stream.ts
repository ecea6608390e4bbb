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
    // The callback does not come once the other side is closed.
    let waiting = true;
    const finish = () => {
      if (!waiting) return;
      waiting = false;
      this.#stdin.off("close", finish);
      done();
    };
    this.#stdin.once("close", finish);
    // Not before: whoever wrote the chunk uses its memory again then.
    this.#stdin.write(chunk, finish);
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
