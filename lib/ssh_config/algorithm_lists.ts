/**
 * Algorithm lists as ssh_config(5) has them.
 *
 * @module
 */
import { type Algorithms, chooseAlgorithms } from "../ssh/algorithms.ts";
import { systemCrypto } from "../ssh/ciphers/system_crypto.ts";

/** Which list. */
export type AlgorithmKind = keyof Algorithms;

/**
 * Reads a list.
 *
 * @param kind Which.
 * @returns A reader, which gives the list back as it was written.
 * @throws {SessionError} `algorithm-mismatch` for a name that nobody knows, or when nothing of the
 *   list can be used.
 */
export function algorithmList(kind: AlgorithmKind): (text: string) => string {
  return (text) => {
    assembled(kind, text);
    return text;
  };
}

/**
 * What `-G` prints: the whole list that is offered.
 *
 * @param kind Which.
 * @param text The user's list, where there is one.
 * @returns Names with commas.
 */
export function assembled(kind: AlgorithmKind, text: string | undefined): string {
  return chooseAlgorithms(text === undefined ? {} : { [kind]: text })[kind].join(",");
}

/**
 * The same for ciphers, whose order depends on what is fast here.
 *
 * @param text The user's list, where there is one.
 * @param mayUseSystem Whether the system's libcrypto counts; it does by default.
 * @returns Names with commas.
 */
export function assembledCiphers(text: string | undefined, mayUseSystem = true): string {
  const fastAes = mayUseSystem && systemCrypto()?.fast === true;
  return chooseAlgorithms(text === undefined ? {} : { cipher: text }, [], fastAes).cipher.join(",");
}
