/** A real terminal: a tmux of the test's own, with a shell in it. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Home } from "./home.ts";
import { said } from "./secrets.ts";
import { need, quote, run, start, type Stoppable, stoppable, waitFor } from "./tools.ts";

/** A terminal and who sits at it. */
export interface Terminal extends Stoppable {
  /** Runs a program in the foreground, on a cleared screen. */
  run(command: readonly string[], options?: { stdin?: string }): Promise<void>;
  /** Types a line. */
  type(text: string): Promise<void>;
  /** Presses a key, such as `C-c`. */
  press(key: string): Promise<void>;
  /** All that was shown since `run`, also what has left the screen; long lines are whole. */
  screen(): Promise<string>;
  /** What the screen shows now, with the escape sequences of its colours. */
  painted(): Promise<string>;
  /** Waits until the pattern is shown as often as this, and returns the screen. */
  until(pattern: RegExp, times?: number): Promise<string>;
  /** Waits for the program's end. */
  end(): Promise<{ status: number; screen: string; echo: boolean }>;
}

let opened = 0;

/** Opens a terminal of so many columns; everything in it has this home. */
export async function openTerminal(home: Home, columns = 100): Promise<Terminal> {
  const program = need("tmux");
  // The file of one that has ended stays, and would be taken for this one's.
  const socket = join(home.path, `tmux-${++opened}`);
  const script = join(home.path, "script");
  const env = { ...home.env, TMUX: undefined, TERM: "xterm", ENV: undefined };
  // Not as a daemon, so that it ends with the tests however they end.
  const server = start(program, ["-S", socket, "-f", "/dev/null", "-D"], { env });
  const tmux = async (...args: string[]): Promise<string> => {
    const result = await run(program, ["-S", socket, ...args], { env });
    if (result.status !== 0) throw new Error(`tmux ${args[0]}: ${result.stderr}`);
    return result.stdout;
  };
  const stop = async () => {
    await tmux("kill-server").catch(() => {});
    await server.stop();
  };
  try {
    await waitFor(() => !server.running() || existsSync(socket), { what: "tmux listening" });
    await tmux("new-session", "-d", "-s", "test", "-x", String(columns), "-y", "40", "sh");
  } catch (error) {
    await stop();
    throw new Error(`tmux: ${server.stderr()}`, { cause: error });
  }

  const screen = async () => (await tmux("capture-pane", "-p", "-J", "-S", "-")).trimEnd();
  const type = async (text: string) => {
    if (text !== "") await tmux("send-keys", "-l", text);
    await tmux("send-keys", "Enter");
  };
  const until = async (pattern: RegExp, times = 1) => {
    const all = new RegExp(pattern.source, `${pattern.flags}g`);
    let seen = "";
    try {
      await waitFor(async () => {
        seen = await screen();
        return [...seen.matchAll(all)].length >= times;
      }, { timeout: 5_000 });
    } catch {
      throw new Error(`${pattern} was not shown ${times} times on the screen:\n${seen}`);
    }
    return seen;
  };

  return stoppable<Omit<Terminal, keyof Stoppable>>({
    run: async (command, options = {}) => {
      const input = options.stdin === undefined ? "" : ` <${options.stdin}`;
      await writeFile(script, `exec ${quote(command)}${input}\n`);
      await tmux("send-keys", "-R", "-t", "test");
      await tmux("clear-history");
      // The modes are asked for before the shell can put them right.
      await type(`clear; sh ${script}; status=$?; stty -a; echo "status: $status"`);
    },
    type,
    press: async (key) => void await tmux("send-keys", key),
    screen,
    painted: async () => (await tmux("capture-pane", "-p", "-e")).trimEnd(),
    until,
    end: async () => {
      const shown = await until(/^status: (\d+)$/m);
      const status = Number(/^status: (\d+)$/m.exec(shown)?.[1]);
      // A shell needs a moment to take the terminal back.
      await sleep(20);
      said(await readFile(script, "utf8").then((text) => text.split(/['\s]+/)), shown);
      return { status, screen: shown, echo: / echo\b/.test(shown) };
    },
  }, stop);
}
