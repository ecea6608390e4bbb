/**
 * How the engine asks a person. The command line implements it on a terminal; the library itself
 * never opens one.
 *
 * @module
 */

/** One question of a keyboard-interactive exchange (RFC 4256 section 3.2). */
export interface Question {
  /** The text to show. */
  readonly prompt: string;
  /** Whether the answer may be seen while it is typed. */
  readonly echo: boolean;
}

/** What a person must know to judge a host key that no known_hosts file holds. */
export interface UnknownHostKey {
  /** The host as known_hosts names it: `host`, or `[host]:port` when the port is not 22. */
  readonly host: string;
  /** The key's type as people call it: `ED25519`, `ECDSA`, `RSA`. */
  readonly keyType: string;
  /** `SHA256:` and the digest in base64 without padding, as ssh prints it. */
  readonly fingerprint: string;
}

/** Asks a person. Every method may reject, for instance when the person interrupts. */
export interface Prompter {
  /**
   * Asks for one secret: a password or a passphrase. Nothing is echoed.
   *
   * @param prompt The text to show, with its colon and space.
   * @returns The answer, or undefined when the person declines.
   */
  secret(prompt: string): Promise<string | undefined>;
  /**
   * Asks a server's keyboard-interactive questions.
   *
   * @param name The exchange's name, may be empty.
   * @param instruction What the server says first, may be empty.
   * @param questions The questions, in order.
   * @returns One answer a question, or undefined when the person declines.
   */
  questions(
    name: string,
    instruction: string,
    questions: readonly Question[],
  ): Promise<string[] | undefined>;
  /**
   * Asks whether an unknown host key is to be trusted.
   *
   * @param key The key in question.
   * @returns Whether to go on and remember the key.
   */
  confirmHostKey(key: UnknownHostKey): Promise<boolean>;
}
