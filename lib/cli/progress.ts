/**
 * What is seen of tunnels while they come up.
 *
 * @module
 */
import process from "node:process";
import { formatAddress } from "../dialer.ts";
import { errorFrom } from "../control/failure.ts";
import type { ControlEvent } from "../control/protocol.ts";
import type { ForwardStatus, TunnelState, TunnelStatus } from "../control/status.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { sayMetrics } from "./metrics_option.ts";
import type { Output } from "./output.ts";

/** Lines that are redrawn in place: more would leave the screen. */
const MOST_LINES = 20;

const WORDS: Readonly<Record<TunnelState | "down", string>> = {
  waiting: "waiting for others",
  connecting: "connecting",
  open: "open",
  reconnecting: "connecting again",
  draining: "open connections may finish",
  failed: "failed",
  down: "down",
};

/** Shows how far it is: in place on a terminal, elsewhere one line for each thing that happens. */
export class Progress {
  readonly #output: Output;
  readonly #inPlace: boolean;
  readonly #states = new Map<string, TunnelState | "down">();
  /** How many lines are on the screen that will be drawn anew. */
  #drawn = 0;
  #paused = false;
  /** Whether nothing is awaited any more. */
  #over = false;
  /** Which forwards were said to listen. */
  readonly #said = new Set<string>();
  /** What has been said of failures already. */
  readonly #failed = new Set<string>();

  /**
   * @param output Where it is shown.
   * @param tunnels What is awaited.
   */
  constructor(output: Output, tunnels: readonly { readonly name: string }[]) {
    this.#output = output;
    const short = tunnels.length <= Math.min(MOST_LINES, (process.stderr.rows ?? 24) - 2);
    this.#inPlace = output.isTerminal && short;
    for (const { name } of tunnels) this.#states.set(name, "waiting");
    this.#draw();
  }

  /** How many tunnels were told to have failed. */
  get failures(): number {
    return this.#failed.size;
  }

  /** Takes what happens. */
  readonly onEvent = (event: ControlEvent): void => {
    switch (event.event) {
      case "tunnel":
        this.#states.set(event.name, event.state);
        if (this.#inPlace && !this.#over) this.#draw();
        else this.#output.event({ ...event }, `${event.name}: ${wordsOf(event)}`);
        return;
      case "forward":
        return this.#above(() => this.#forward(event.name, event.forward));
      case "failed":
        this.#failed.add(event.name);
        return this.#above(() => this.#output.error(errorFrom(event.error, event.name)));
      case "banner":
        return this.#above(() => this.#output.banner(event.text));
      case "metrics":
        return this.#above(() => sayMetrics(event, this.#output));
      case "note":
        return this.#above(() => {
          const about = event.name === undefined ? "" : `${event.name}: `;
          this.#output.warn(`${about}${event.message}`);
        });
    }
  };

  /**
   * Asks with nothing being drawn meanwhile.
   *
   * @param prompter Who asks.
   * @returns The same, quietly.
   */
  pausing(prompter: Prompter | undefined): Prompter | undefined {
    if (prompter === undefined) return undefined;
    const quietly = async <T>(ask: () => Promise<T>): Promise<T> => {
      this.#erase();
      this.#paused = true;
      try {
        return await ask();
      } finally {
        this.#paused = false;
        this.#draw();
      }
    };
    return {
      secret: (...words) => quietly(() => prompter.secret(...words)),
      questions: (...words) => quietly(() => prompter.questions(...words)),
      confirmHostKey: (...words) => quietly(() => prompter.confirmHostKey(...words)),
    };
  }

  /**
   * Shows how it has ended. What happens after that has a line of its own.
   *
   * @param tunnels What has become of each; missing where it was given up.
   */
  end(tunnels: readonly TunnelStatus[] = []): void {
    this.#erase();
    this.#over = true;
    for (const { name, state, failure, forwards } of tunnels) {
      if (state === "failed") {
        if (failure !== undefined && !this.#failed.has(name)) {
          this.#output.error(errorFrom(failure, name));
        }
        continue;
      }
      // What was up before has its ports all the same.
      for (const forward of forwards) {
        if (!this.#said.has(keyOf(name, forward))) this.#forward(name, forward);
      }
      const bad = forwards.filter((forward) => forward.state === "failed").length;
      const good = forwards.length - bad;
      const now = state === "open" ? "up" : WORDS[state];
      const words = forwards.length === 0
        ? now
        : `${now}, ${good === 1 ? "1 forward" : `${good} forwards`}${
          bad === 0 ? "" : `; ${bad} failed`
        }`;
      this.#output.event({ event: "up", name, forwards: good, failed: bad }, `${name}: ${words}`);
    }
  }

  #forward(name: string, forward: ForwardStatus): void {
    const { kind, addresses, destination, failure } = forward;
    this.#said.add(keyOf(name, forward));
    if (failure !== undefined && forward.state === "failed") {
      return this.#output.error(errorFrom(failure, name));
    }
    const where = addresses.map(formatAddress).join(" and ");
    const to = destination === undefined
      ? "for SOCKS clients"
      : `forwarding to ${formatAddress(destination)}`;
    const label = forward.name === undefined ? name : `${name}: ${forward.name}`;
    const at = kind === "remote" ? `the server at ${where}` : where;
    this.#output.event(
      { event: "listening", tunnel: name, ...forward, stats: undefined },
      `${label}: listening on ${at}, ${to}`,
    );
  }

  /** Says something for good, above what is drawn in place. */
  #above(say: () => void): void {
    this.#erase();
    say();
    this.#draw();
  }

  #draw(): void {
    if (!this.#inPlace || this.#paused || this.#over) return;
    this.#erase();
    const lines = [...this.#states].filter(([, state]) => state !== "failed" && state !== "down")
      .map(([name, state]) => `${name}: ${WORDS[state]}${state === "open" ? "" : " …"}`);
    for (const line of lines) this.#output.draw(line);
    this.#drawn = lines.length;
  }

  #erase(): void {
    // From the first column on, where Ctrl-C may have left its ^C.
    // Line by line: tmux keeps in its history what is cleared from the screen's first line on.
    const [back, lines] = [`\x1b[${this.#drawn}A`, "\x1b[2K\x1b[B".repeat(this.#drawn)];
    if (this.#drawn > 0) process.stderr.write(`\r${back}${lines}${back}`);
    this.#drawn = 0;
  }
}

function wordsOf({ state, reason }: Extract<ControlEvent, { event: "tunnel" }>): string {
  const why = state === "reconnecting" && reason !== undefined ? ` (${reason})` : "";
  return `${WORDS[state]}${why}`;
}

function keyOf(tunnel: string, { kind, forward, state }: ForwardStatus): string {
  return `${tunnel} ${kind} ${forward} ${state}`;
}
