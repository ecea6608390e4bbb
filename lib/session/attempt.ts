/**
 * One attempt to connect that can be given up at any moment.
 *
 * @module
 */
import type { SessionError } from "../errors.ts";
import type { Attempt, Connect, Link } from "./link.ts";

/**
 * Makes one connection. Not every step of it can be given up, since the resolver and an agent answer
 * when they like: what comes after the end of the wish is not kept.
 *
 * @param connect Makes it.
 * @param attempt What concerns this attempt alone; its signal gives it up.
 * @param cancelled What it fails with then.
 * @returns The connection.
 * @throws {SessionError} When it fails, or was given up.
 */
export function attemptOnce(
  connect: Connect,
  attempt: Attempt,
  cancelled: () => SessionError,
): Promise<Link> {
  const { signal } = attempt;
  return new Promise((resolve, reject) => {
    const cancel = () => reject(cancelled());
    if (signal.aborted) return cancel();
    signal.addEventListener("abort", cancel, { once: true });
    connect(attempt)
      .then((link) => {
        if (signal.aborted) link.destroy();
        else resolve(link);
      }, reject)
      .finally(() => signal.removeEventListener("abort", cancel));
  });
}
