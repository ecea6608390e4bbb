/**
 * Waiting until something that changes is as somebody wants it.
 *
 * @module
 */

/** Who waits for a change. */
export class Changes {
  readonly #looks = new Set<() => void>();

  /** Has all who wait look again. */
  tell(): void {
    for (const look of [...this.#looks]) look();
  }

  /**
   * Waits.
   *
   * @param holds Whether it is as it is wanted; looked at now, and after each change.
   * @param signal Gives it up.
   * @returns When it holds, or was given up.
   */
  until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!signal.aborted && !holds()) return;
        this.#looks.delete(look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#looks.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }
}
