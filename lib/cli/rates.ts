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

/** The rates of all forwards, one sample for each look. */
export class Rates {
  readonly #samples: number;
  readonly #bars: string;
  readonly #seen = new Map<string, { count: number; rates: number[] }>();
  #last: number | undefined;

  /**
   * @param samples How many are shown.
   * @param unicode Whether the terminal shows block characters.
   */
  constructor(samples: number, unicode: boolean) {
    this.#samples = samples;
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
        this.#seen.set(key, { count, rates: rates.slice(-this.#samples) });
      }
    }
  }

  /**
   * The bars of one forward, the newest on the right, and its rate at present.
   *
   * @param tunnel Its tunnel.
   * @param forward The forward.
   * @returns `samples` bars, and a rate of 7 columns.
   */
  of(tunnel: TunnelStatus, forward: ForwardStatus): string {
    const { rates } = this.#seen.get(keyOf(tunnel, forward)) ?? { rates: [] };
    const most = Math.max(1, ...rates);
    const bars = rates.map((rate) => {
      // A little is not nothing.
      const level = rate === 0 ? 0 : Math.max(1, Math.round((rate / most) * (BARS.length - 1)));
      return this.#bars[level];
    });
    const now = `${bytes(Math.round(rates.at(-1) ?? 0))}/s`;
    return `${bars.join("").padStart(this.#samples)}${now.padStart(7)}`;
  }
}

function keyOf({ name }: TunnelStatus, { kind, forward }: ForwardStatus): string {
  return `${name} ${kind} ${forward}`;
}
