/**
 * Names that may go into a command line of a shell, because that is where `%h` and `%r` can end up
 * (Match exec, ProxyCommand). ssh refuses the others as well.
 *
 * @module
 */

/**
 * Whether a host name holds nothing that a shell acts on.
 *
 * @param name The name or address.
 * @returns Whether it may be used.
 */
export function isSafeHostName(name: string): boolean {
  return !/^-|['`"$\\;&<>|(){},\s\p{Cc}]/u.test(name);
}

/**
 * Whether a user's name holds nothing that a shell acts on.
 *
 * @param name The name on the server.
 * @returns Whether it may be used.
 */
export function isSafeUserName(name: string): boolean {
  return !/^-|['`";&<>|(){}\p{Cc}]|\s-|\\$/u.test(name);
}
