/**
 * A command on the server with this process's stdin, stdout and stderr.
 *
 * @module
 */
import type { Readable, Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { ConnectionError, systemCodeOf } from "../errors.ts";
import { carry, type Stdio } from "../forward/stdio.ts";
import type { RemoteCommand } from "../ssh/command.ts";
import { stderr } from "./stdio.ts";

/** The status where the command's own is not known. */
const UNKNOWN = 255;

/**
 * Goes with a command to its end.
 *
 * @param command The command, started.
 * @param stdio Our stdin and stdout.
 * @returns Its exit status.
 * @throws {ConnectionError} When it has none: a signal ended it, or the server did not say.
 */
export async function attend(command: RemoteCommand, stdio: Stdio): Promise<number> {
  const errors = copy(command.stderr, stderr());
  try {
    await carry(command, stdio);
  } catch (error) {
    // A reader that has seen enough (head, say) ends the command, and is not worth a line.
    if (systemCodeOf(error) === "EPIPE") return UNKNOWN;
    throw error;
  }
  const { status, signal } = await command.exit;
  await errors;
  if (status !== undefined) return status;
  throw new ConnectionError(
    signal === undefined
      ? "the server did not say how the command ended"
      : `the command on the server was ended by ${signal}`,
    { code: "channel-failed" },
  );
}

/** @returns When all of it is written. It never rejects. */
async function copy(source: Readable, sink: Writable): Promise<void> {
  // Where nobody reads it, the command goes on all the same.
  sink.on("error", () => source.resume());
  source.pipe(sink, { end: false });
  await finished(source).catch(() => {});
  if (sink.destroyed) return;
  await new Promise<void>((resolve) => {
    sink.once("error", () => resolve());
    sink.write(new Uint8Array(), () => resolve());
  });
}
