/**
 * How fast each forward has been of late, as a line of small bars.
 *
 * @module
 */
import type { ForwardStatus, TunnelStatus } from "../control/status.ts";
import { bytes } from "./status_table.ts";

const BARS = "▁▂▃▄▅▆▇█";
/** For terminals that cannot show the others. */
const PLAIN = "_.-=+*%#";

/** Looks that are remembered: a terminal may be made wider. */
export const MOST_SAMPLES = 30;
/** Columns of a rate. */
export const RATE_WIDTH = 7;

/** The rates of all forwards, one sample for each look. */
export class Rates {
  readonly #bars: string;
  readonly #seen = new Map<string, { count: number; rates: number[] }>();
  #last: number | undefined;

  /**
   * @param unicode Whether the terminal shows block characters.
   */
  constructor(unicode: boolean) {
    this.#bars = unicode ? BARS : PLAIN;
  }

  /**
   * Takes one look.
   *
   * @param tunnels What was seen.
   * @param now When, in milliseconds.
   */
  take(tunnels: readonly TunnelStatus[], now: number): void {
    const seconds = this.#last === undefined ? 0 : (now - this.#last) / 1000;
    this.#last = now;
    for (const tunnel of tunnels) {
      for (const forward of tunnel.forwards) {
        const key = keyOf(tunnel, forward);
        const count = forward.stats.sent + forward.stats.received;
        const old = this.#seen.get(key);
        const rate = old === undefined || seconds <= 0
          ? undefined
          // A tunnel that was taken down begins at 0 again.
          : Math.max(0, count - old.count) / seconds;
        const rates = [...old?.rates ?? [], ...(rate === undefined ? [] : [rate])];
        this.#seen.set(key, { count, rates: rates.slice(-MOST_SAMPLES) });
      }
    }
  }

  /**
   * The bars of one forward, the newest on the right, and its rate at present.
   *
   * @param tunnel Its tunnel.
   * @param forward The forward.
   * @param samples How many bars, MOST_SAMPLES at most.
   * @returns So many bars, and a rate of RATE_WIDTH columns.
   */
  of(tunnel: TunnelStatus, forward: ForwardStatus, samples: number): string {
    const all = this.#seen.get(keyOf(tunnel, forward))?.rates ?? [];
    const rates = samples === 0 ? [] : all.slice(-samples);
    const most = Math.max(1, ...rates);
    const bars = rates.map((rate) => {
      // A little is not nothing.
      const level = rate === 0 ? 0 : Math.max(1, Math.round((rate / most) * (BARS.length - 1)));
      return this.#bars[level];
    });
    const now = `${bytes(Math.round(all.at(-1) ?? 0))}/s`;
    return `${bars.join("").padStart(samples)}${now.padStart(RATE_WIDTH)}`;
  }
}

function keyOf({ name }: TunnelStatus, { kind, forward }: ForwardStatus): string {
  return `${name} ${kind} ${forward}`;
}
