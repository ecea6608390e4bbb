/**
 * Trying several addresses without waiting for a dead one: Happy Eyeballs, RFC 8305.
 *
 * The runtimes' own version of it (`autoSelectFamily`) differs from one to another, and none says
 * what became of each address.
 *
 * @module
 */

/** Milliseconds until the next address is tried beside those that have not answered (section 5). */
export const ATTEMPT_DELAY = 250;

/** What became of every candidate of a {@linkcode race} that none of them won. */
export class AllFailed<Candidate> extends Error {
  /** Each candidate with its error, in the order of the candidates. */
  readonly failures: readonly { readonly candidate: Candidate; readonly error: unknown }[];

  /**
   * @param failures Each candidate with its error.
   */
  constructor(failures: readonly { candidate: Candidate; error: unknown }[]) {
    super("every address failed");
    this.failures = failures;
  }
}

/**
 * Puts addresses in the order to try them: the families take turns, beginning with that of the
 * first (RFC 8305 section 4).
 *
 * @param addresses As the resolver sorted them.
 * @returns The same ones; within a family their order stays.
 */
export function interleave<Address extends { readonly family: number }>(
  addresses: readonly Address[],
): Address[] {
  const family = addresses[0]?.family;
  const first = addresses.filter((address) => address.family === family);
  const second = addresses.filter((address) => address.family !== family);
  const longer = Math.max(first.length, second.length);
  return Array.from({ length: longer }, (_, index) => [first[index], second[index]])
    .flat()
    .filter((address) => address !== undefined);
}

/** One candidate that was started. */
export interface Attempt<Won> {
  /** What it makes. */
  readonly result: Promise<Won>;
  /** Gives it up; never called once the result is there. */
  cancel(): void;
}

/**
 * Starts the first candidate, and each next one {@linkcode ATTEMPT_DELAY} later, or at once where
 * one has failed; the first that succeeds wins (RFC 8305 section 5), and the others are given up.
 *
 * @param candidates At least one, in the order to try them.
 * @param start Starts one.
 * @param discard Ends one that succeeded although it was given up.
 * @param signal Gives all of them up.
 * @returns What the winner's start made.
 * @throws {AllFailed} When none succeeds.
 */
export function race<Candidate, Won>(
  candidates: readonly Candidate[],
  start: (candidate: Candidate) => Attempt<Won>,
  discard: (late: Won) => void,
  signal?: AbortSignal,
): Promise<Won> {
  return new Promise((resolve, reject) => {
    const failures: { candidate: Candidate; error: unknown }[] = [];
    const waiting = [...candidates.entries()];
    const running = new Set<Attempt<Won>>();
    let failed = 0;
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const settle = (finish: () => void) => {
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      for (const attempt of running) attempt.cancel();
      finish();
    };
    const onAbort = () => settle(() => reject(signal?.reason));
    const next = () => {
      clearTimeout(timer);
      const entry = waiting.shift();
      if (entry === undefined) return;
      const [index, candidate] = entry;
      if (waiting.length > 0) timer = setTimeout(next, ATTEMPT_DELAY);
      const attempt = start(candidate);
      running.add(attempt);
      attempt.result.then((won) => {
        running.delete(attempt);
        if (over) discard(won);
        else settle(() => resolve(won));
      }, (error) => {
        running.delete(attempt);
        if (over) return;
        failures[index] = { candidate, error };
        failed++;
        if (failed === candidates.length) settle(() => reject(new AllFailed(failures)));
        else next();
      });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    next();
  });
}
