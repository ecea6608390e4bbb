/**
 * The table of `fairlead status`.
 *
 * @module
 */
import { printable } from "./output.ts";
import { formatAddress } from "../dialer.ts";
import type { ForwardStatus, TunnelState, TunnelStatus } from "../control/status.ts";

/** How it is drawn. */
export interface TableOptions {
  /** Columns that there are; 40 at least. */
  readonly width: number;
  readonly color: boolean;
  /** The time, in milliseconds since 1970. */
  readonly now: number;
  /** What is drawn behind a forward where there is room, such as its rates; its columns. */
  readonly aside?: {
    readonly title: string;
    readonly width: number;
    readonly of: (tunnel: TunnelStatus, forward: ForwardStatus) => string;
  };
}

const NUMBERS = ["OPEN", "TOTAL", "SENT", "RECEIVED"] as const;
const NUMBER_WIDTHS = [6, 7, 7, 9] as const;
/** Columns for words beside numbers, however little there is of either. */
const LEAST_WORDS = 10;

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
  const { now, width } = options;
  const numbers = NUMBER_WIDTHS.reduce((sum, width) => sum + width, 0);
  const behind = numbers + 2 + (options.aside?.width ?? 0);
  const aside = width - behind < LEAST_WORDS ? undefined : options.aside;
  const draw = new Rows(options, aside === undefined ? numbers : behind);
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
    if (tunnel.parked > 0) {
      const who = tunnel.parked === 1 ? "1 caller waits" : `${tunnel.parked} callers wait`;
      draw.text(`  ${who} for the connection`);
    }
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

/** A part of a line that has a colour of its own. */
interface Mark {
  readonly at: number;
  readonly length: number;
  readonly color: number;
}

type Row =
  | { readonly words: string; readonly cells: string; readonly mark?: Mark | undefined }
  /** Words alone, all of them of one colour. */
  | { readonly words: string; readonly color?: number };

/** What is drawn, line by line; how wide its columns are is known when all of it is there. */
class Rows {
  readonly #rows: Row[] = [];
  readonly #color: boolean;
  readonly #width: number;
  /** Columns that are left for words beside numbers. */
  readonly #most: number;

  constructor({ color, width }: TableOptions, right: number) {
    this.#color = color;
    this.#width = width;
    this.#most = Math.max(LEAST_WORDS, width - right);
  }

  /** Words on the left, numbers on the right; on two lines where one is too short. */
  row(words: string, numbers: readonly string[], aside = "", mark?: Mark): void {
    const cells = numbers.map((number, index) => number.padStart(NUMBER_WIDTHS[index] ?? 0)).join(
      "",
    );
    const behind = aside === "" ? "" : `  ${aside}`;
    this.#rows.push({ words: printable(words), cells: `${cells}${behind}`, mark });
  }

  text(words: string): void {
    this.#rows.push({ words: printable(words) });
  }

  failure(words: string): void {
    this.#rows.push({ words: printable(`    ${words}`), color: 31 });
  }

  /** No wider than what there is to say: the eye finds the numbers of a line beside its words. */
  get lines(): string[] {
    const widths = this.#rows.flatMap((row) => "cells" in row ? [row.words.length] : []);
    const left = Math.max(LEAST_WORDS, ...widths.filter((width) => width <= this.#most));
    return this.#rows.flatMap((row) => this.#draw(row, left));
  }

  #draw(row: Row, left: number): string[] {
    const { words } = row;
    if (!("cells" in row)) {
      return wrap(words, this.#width).map((line) => this.#paint(line, 0, line.length, row.color));
    }
    const { cells, mark } = row;
    const painted = this.#paint(words, mark?.at, mark?.length, mark?.color);
    if (words.length <= left) {
      return [`${painted}${" ".repeat(left - words.length)}${cells}`.trimEnd()];
    }
    const own = words.length <= this.#width ? [painted] : wrap(words, this.#width);
    return [...own, `${" ".repeat(left)}${cells}`.trimEnd()];
  }

  #paint(words: string, at = 0, length = 0, color?: number): string {
    if (!this.#color || color === undefined) return words;
    const end = at + length;
    return `${words.slice(0, at)}\x1b[${color}m${words.slice(at, end)}\x1b[39m${words.slice(end)}`;
  }
}

const INDENT = "    ";

function wrap(words: string, width: number): string[] {
  const lines: string[] = [];
  let rest = words;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const at = space > INDENT.length + 8 ? space : width;
    lines.push(rest.slice(0, at).trimEnd());
    rest = `${INDENT}${rest.slice(at).trimStart()}`;
  }
  return [...lines, rest];
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
