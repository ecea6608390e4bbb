/**
 * How `fairlead check` shows what it has found: one line each, as soon as it is known.
 *
 * @module
 */
import process from "node:process";
import { createColors } from "picocolors";
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { printable } from "../ssh/reasons.ts";
import type { Finding } from "./finding.ts";
import type { Output } from "./output.ts";
import type { CommonOptions } from "./subcommand.ts";

/** Shows what was found. */
export class CheckReport {
  readonly #options: Pick<CommonOptions, "json" | "verbosity">;
  readonly #output: Output;
  readonly #width: number;
  readonly #colors: ReturnType<typeof createColors>;
  #checks = 0;
  /** How much is wrong so far. */
  wrong = 0;

  /**
   * @param tunnels What is looked at.
   * @param options How much is said, and in which form.
   * @param output Where.
   */
  constructor(tunnels: readonly TunnelConfig[], options: CommonOptions, output: Output) {
    this.#options = options;
    this.#output = output;
    this.#width = Math.max(1, ...tunnels.map(({ name }) => name.length));
    this.#colors = createColors(output.screen.color && process.stdout.isTTY === true);
  }

  /**
   * Shows a finding.
   *
   * @param tunnel The tunnel that it is about; undefined for the whole file.
   * @param finding What was found.
   */
  add(tunnel: string | undefined, finding: Finding): void {
    this.#checks++;
    if (!finding.ok) this.wrong++;
    const { json, verbosity } = this.#options;
    if (json) return this.#output.event({ event: "check", tunnel, ...finding });
    if (verbosity < 0 && finding.ok) return;
    const { ok, detail, remedy } = finding;
    const word = ok ? this.#colors.green("ok   ") : this.#colors.red("wrong");
    const words = printable(remedy === undefined ? detail : `${detail}; ${remedy}`);
    const { isTTY, columns } = process.stdout;
    const indent = this.#width + 9;
    // Elsewhere a line is a line.
    const lines = isTTY ? wrapped(words, Math.max(40, columns - indent)) : [words];
    const shown = lines.join(`\n${" ".repeat(indent)}`);
    this.#output.screen.out(`${(tunnel ?? "-").padEnd(this.#width)}  ${word}  ${shown}`);
  }

  /** Shows how much it was. */
  end(): void {
    const { json, verbosity } = this.#options;
    if (json) {
      return this.#output.event({ event: "checked", checks: this.#checks, wrong: this.wrong });
    }
    if (verbosity < 0) return;
    const outcome = this.wrong === 0 ? "all ok" : `${this.wrong} wrong`;
    this.#output.screen.out(`${counted(this.#checks, "check")}, ${outcome}`);
  }
}

/** Lines of words, none longer than that but where a word is. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/**
 * A number of things.
 *
 * @param number How many.
 * @param what One of them.
 * @returns Such as `3 tunnels`.
 */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
