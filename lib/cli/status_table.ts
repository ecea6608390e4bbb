/**
 * The table of `fairlead status`.
 *
 * @module
 */
import { formatAddress } from "../dialer.ts";
import type { ForwardStatus, TunnelState, TunnelStatus } from "../control/status.ts";

/** How it is drawn. */
export interface TableOptions {
  /** Columns that there are. */
  readonly width: number;
  readonly color: boolean;
  /** The time, in milliseconds since 1970. */
  readonly now: number;
  /** What is drawn behind a forward, such as its rates; its columns. */
  readonly aside?: {
    readonly title: string;
    readonly width: number;
    readonly of: (tunnel: TunnelStatus, forward: ForwardStatus) => string;
  };
}

const NUMBERS = ["OPEN", "TOTAL", "SENT", "RECEIVED"] as const;
const NUMBER_WIDTHS = [5, 7, 7, 9] as const;

const COLORS: Readonly<Record<TunnelState, number>> = {
  open: 32,
  waiting: 33,
  connecting: 33,
  reconnecting: 33,
  draining: 33,
  failed: 31,
};

const LETTERS = { local: "-L", remote: "-R", dynamic: "-D" } as const;

/**
 * Draws the table.
 *
 * @param tunnels What is shown.
 * @param options How.
 * @returns Its lines, none wider than it may be.
 */
export function statusTable(
  tunnels: readonly TunnelStatus[],
  options: TableOptions,
): string[] {
  const { aside, now } = options;
  const right = NUMBER_WIDTHS.reduce((sum, width) => sum + width, 0) +
    (aside === undefined ? 0 : aside.width + 2);
  const draw = new Rows(options, right);
  const files = new Set(tunnels.map(({ file }) => file));
  draw.row("TUNNEL", [...NUMBERS], aside?.title);
  for (const tunnel of tunnels) {
    const { name, state, since, reconnects, forwards, failure, destination, file } = tunnel;
    const times = reconnects === 1 ? "once" : `${reconnects} times`;
    const back = reconnects === 0 ? "" : `, reconnected ${times}`;
    const stated = `${state} for ${age(now - Date.parse(since))}${back}`;
    const sums = forwards.map(({ stats }) => stats);
    draw.row(`${name}  ${stated}`, numbersOf(sums), undefined, {
      at: name.length + 2,
      length: state.length,
      color: COLORS[state],
    });
    draw.text(`  ${destination}${files.size > 1 ? `, of ${file}` : ""}`);
    if (tunnel.parked > 0) draw.text(`  ${tunnel.parked} callers wait for the connection`);
    for (const forward of forwards) {
      const label = forward.name === undefined ? "" : `${forward.name}: `;
      const words = `  ${LETTERS[forward.kind]} ${label}${route(forward)}`;
      draw.row(words, numbersOf([forward.stats]), aside?.of(tunnel, forward));
      if (forward.failure !== undefined) draw.failure(forward.failure.message);
    }
    if (failure !== undefined) {
      draw.failure(`${age(now - Date.parse(failure.time))} ago: ${failure.message}`);
    }
  }
  return draw.lines;
}

/** Where a forward listens, and where it leads. */
function route({ kind, addresses, forward, destination, state }: ForwardStatus): string {
  // ssh's own text says where it would listen.
  if (state !== "listening") return `${forward} (${state})`;
  const loopback = addresses.map(formatAddress);
  // Both of loopback's addresses have the same port.
  const where = loopback.filter((one) => !one.startsWith("[::1]") || loopback.length === 1);
  const at = `${kind === "remote" ? "server " : ""}${where.join(", ")}`;
  return destination === undefined ? `${at} (SOCKS)` : `${at} -> ${formatAddress(destination)}`;
}

function numbersOf(stats: readonly ForwardStatus["stats"][]): string[] {
  const sum = (name: keyof ForwardStatus["stats"]) =>
    stats.reduce((total, one) => total + one[name], 0);
  return [
    String(sum("open")),
    String(sum("total")),
    bytes(sum("sent")),
    bytes(sum("received")),
  ];
}

class Rows {
  readonly lines: string[] = [];
  readonly #options: TableOptions;
  readonly #left: number;

  constructor(options: TableOptions, right: number) {
    this.#options = options;
    this.#left = Math.max(10, options.width - right - 1);
  }

  /** Words on the left, numbers on the right; on two lines where one is too short. */
  row(
    words: string,
    numbers: readonly string[],
    aside = "",
    mark?: { readonly at: number; readonly length: number; readonly color: number },
  ): void {
    const cells = numbers.map((number, index) => number.padStart(NUMBER_WIDTHS[index] ?? 0)).join(
      "",
    );
    const behind = aside === "" ? "" : `  ${aside}`;
    const painted = mark === undefined ? words : this.#paint(words, mark);
    if (words.length <= this.#left) {
      this.lines.push(
        `${painted}${" ".repeat(this.#left - words.length)}${cells}${behind}`.trimEnd(),
      );
      return;
    }
    if (words.length <= this.#options.width) this.lines.push(painted);
    else this.#wrap(words, "    ");
    this.lines.push(`${" ".repeat(this.#left)}${cells}${behind}`.trimEnd());
  }

  text(words: string): void {
    this.#wrap(words, "    ");
  }

  failure(words: string): void {
    const first = this.lines.length;
    this.#wrap(`    ${words}`, "    ");
    if (!this.#options.color) return;
    for (let at = first; at < this.lines.length; at++) {
      this.lines[at] = `\x1b[31m${this.lines[at]}\x1b[39m`;
    }
  }

  #paint(
    words: string,
    { at, length, color }: { readonly at: number; readonly length: number; readonly color: number },
  ): string {
    if (!this.#options.color) return words;
    return `${words.slice(0, at)}\x1b[${color}m${words.slice(at, at + length)}\x1b[39m` +
      words.slice(at + length);
  }

  #wrap(words: string, indent: string): void {
    const { width } = this.#options;
    // What comes from servers must not move the cursor.
    // deno-lint-ignore no-control-regex -- they are what this is about
    let rest = words.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
    while (rest.length > width) {
      const space = rest.lastIndexOf(" ", width);
      const at = space > indent.length + 8 ? space : width;
      this.lines.push(rest.slice(0, at).trimEnd());
      rest = `${indent}${rest.slice(at).trimStart()}`;
    }
    this.lines.push(rest);
  }
}

/**
 * A number of bytes in five columns.
 *
 * @param count The number.
 * @returns Such as `512`, `1.2K`, `30M`; K is 1,024.
 */
export function bytes(count: number): string {
  let unit = 0;
  let number = count;
  while (number >= 1000 && unit < 5) {
    number /= 1024;
    unit++;
  }
  if (unit === 0) return String(count);
  return `${number < 9.95 ? number.toFixed(1) : Math.round(number)}${"KMGTP"[unit - 1]}`;
}

/**
 * How long something has lasted, in its largest unit.
 *
 * @param milliseconds The time.
 * @returns Such as `3s`, `12m`, `5h`, `9d`.
 */
export function age(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
