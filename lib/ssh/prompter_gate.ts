/**
 * The end of asking: from a certain moment on, the terminal is somebody else's.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import type { Prompter } from "./prompter.ts";

/** A prompter that can be told to ask no more. */
export interface PrompterGate {
  /** Asks while the gate is open, and refuses then: `auth-failed`. */
  readonly prompter: Prompter;
  /** Closes the gate for good. */
  close(): void;
}

/**
 * Puts a gate in front of a prompter.
 *
 * @param prompter Who asks.
 * @param reason Why nobody is asked behind the closed gate, in words.
 * @returns The gate, open.
 */
export function prompterGate(prompter: Prompter, reason: string): PrompterGate {
  let open = true;
  const pass = <T>(hint: string, ask: () => Promise<T>): Promise<T> => {
    if (open) return ask();
    const message = `nobody can be asked any more: ${reason}`;
    return Promise.reject(new SessionError(message, { code: "auth-failed", hint }));
  };
  const withoutPerson = "keep the key in an agent";
  return {
    prompter: {
      secret: (...words) => pass(withoutPerson, () => prompter.secret(...words)),
      questions: (...words) => pass(withoutPerson, () => prompter.questions(...words)),
      confirmHostKey: (...words) =>
        pass("add its host key to known_hosts", () => prompter.confirmHostKey(...words)),
    },
    close: () => {
      open = false;
    },
  };
}
