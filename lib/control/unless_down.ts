/**
 * Waiting for what a tunnel needs, for as long as nobody takes the tunnel down.
 *
 * @module
 */
import { SessionError } from "../errors.ts";

/**
 * Whatever a tunnel waits for: its being taken down comes first.
 *
 * @param name The tunnel.
 * @param down Aborts when it is taken down.
 * @param promise What it waits for.
 * @returns What that comes to.
 * @throws {SessionError} `cancelled` when it is taken down.
 */
export function unlessDown<T>(name: string, down: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(downMeanwhile(name));
    if (down.aborted) giveUp();
    down.addEventListener("abort", giveUp, { once: true });
    promise.then(resolve, reject).finally(() => down.removeEventListener("abort", giveUp));
  });
}

/**
 * What whoever waits for a tunnel is told when another one takes it down.
 *
 * @param name The tunnel.
 * @returns The error.
 */
export function downMeanwhile(name: string): SessionError {
  return new SessionError(`the tunnel ${name} was taken down before it was up`, {
    code: "cancelled",
  });
}
