/**
 * What a person has answered once is not asked again when a lost link is made anew: nobody may be
 * there any more.
 *
 * @module
 */
import type { Prompter, Question } from "../ssh/prompter.ts";

/** A one-time code is good for nothing the second time, a password is. */
const PASSWORD = /^[^:]*\bpassword: ?$/i;

/** What one attempt to connect asks, and is answered. */
export interface AttemptAnswers {
  /** Asks what is not known. */
  readonly prompter: Prompter;
  /**
   * Keeps what was answered so far, once a server has let us in.
   *
   * @param after Whether that was the last one and the session is open, as by default; and whether
   *   other answers have led there besides these, which they have not by default.
   */
  readonly keep: (after?: { readonly opened?: boolean; readonly more?: boolean }) => void;
}

/** The answers that let us in, in memory alone. */
export class RememberedAnswers {
  readonly #kept = new Map<string, string>();
  /** Whether the last session that opened took an answer that is good only once. */
  #needsPerson = false;
  /** What is on the screen: an attempt that was given up meanwhile has left its question there. */
  readonly #asking = new Map<string, Promise<unknown>>();

  /** Whether a further session would take a person: what opened the last one is not kept. */
  get needsPerson(): boolean {
    return this.#needsPerson;
  }

  /**
   * A prompter for one attempt to connect that asks nobody, and knows what was answered before.
   *
   * @returns The prompter.
   */
  quiet(): Prompter {
    const given = new Set<string>();
    const known = (prompt: string): string | undefined => {
      // What turned out wrong is not said twice.
      if (given.has(prompt)) return undefined;
      given.add(prompt);
      return this.#kept.get(prompt);
    };
    return {
      secret: (prompt) => Promise.resolve(known(prompt)),
      questions: (_name, _instruction, questions) => {
        const prompt = passwordOf(questions);
        const answer = prompt === undefined ? undefined : known(prompt);
        return Promise.resolve(answer === undefined ? undefined : [answer]);
      },
      confirmHostKey: () => Promise.resolve(false),
    };
  }

  /**
   * A prompter for one attempt to connect: it knows what was answered before, and asks the person
   * for all else, also where a known answer turned out wrong.
   *
   * @param person Asks the person.
   * @returns The prompter, and what keeps its answers.
   */
  attempt(person: Prompter): AttemptAnswers {
    const given = new Map<string, string>();
    let once = false;
    const known = (prompt: string): string | undefined => {
      const answer = given.has(prompt) ? undefined : this.#kept.get(prompt);
      if (answer !== undefined) given.set(prompt, answer);
      return answer;
    };
    const note = (prompt: string, answer: string | undefined) => {
      if (answer !== undefined) given.set(prompt, answer);
      return answer;
    };
    const asked = <T>(key: unknown[], ask: () => Promise<T>) => this.#ask(JSON.stringify(key), ask);
    return {
      prompter: {
        secret: async (prompt) =>
          known(prompt) ??
            note(prompt, await asked(["secret", prompt], () => person.secret(prompt))),
        questions: async (name, instruction, questions) => {
          const prompt = passwordOf(questions);
          const answer = prompt === undefined ? undefined : known(prompt);
          if (answer !== undefined) return [answer];
          const answers = await asked(
            ["questions", name, instruction, questions],
            () => person.questions(name, instruction, questions),
          );
          if (prompt !== undefined) note(prompt, answers?.[0]);
          else if (answers !== undefined && questions.length > 0) once = true;
          return answers;
        },
        confirmHostKey: (key) => asked(["host key", key], () => person.confirmHostKey(key)),
      },
      keep: ({ opened = true, more = false } = {}) => {
        this.#needsPerson = once || ((more || !opened) && this.#needsPerson);
        for (const [prompt, answer] of given) this.#kept.set(prompt, answer);
      },
    };
  }

  /** One question at a time of a kind: whoever asks the same meanwhile waits for the same answer. */
  #ask<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const asking = this.#asking.get(key) as Promise<T> | undefined;
    if (asking !== undefined) return asking;
    const answer = ask().finally(() => this.#asking.delete(key));
    this.#asking.set(key, answer);
    return answer;
  }
}

function passwordOf(questions: readonly Question[]): string | undefined {
  const [only, ...more] = questions;
  if (only === undefined || more.length > 0 || only.echo) return undefined;
  return PASSWORD.test(only.prompt) ? only.prompt : undefined;
}
