/**
 * What `--proxy` takes.
 *
 * @module
 */
import process from "node:process";
import { messageOf, UsageError } from "../errors.ts";
import { parseProxy } from "../ssh/proxy.ts";

/**
 * Reads what `--proxy` was given. A password may only come from the environment: every user of the
 * machine sees the command line.
 *
 * @param value A URL, `env` for what `ALL_PROXY` names, or `env:NAME` for what the variable holds.
 * @returns A URL or `env`, as the library takes it.
 * @throws {UsageError} When it is malformed, or shows a password.
 */
export function readProxyOption(value: string): string {
  if (value === "env") return value;
  const variable = /^env:(.*)$/.exec(value)?.[1];
  const url = variable === undefined ? value : process.env[variable] ?? "";
  if (variable !== undefined && url === "") {
    throw new UsageError(`--proxy ${value}: the variable ${variable} is not set`);
  }
  try {
    const { password } = parseProxy(url);
    if (variable !== undefined || password === "") return url;
  } catch (error) {
    const from = variable === undefined ? "" : ` ${value}`;
    throw new UsageError(
      `--proxy${from}: ${messageOf(error)}`,
      "give socks5://host:port, http://host:port, env, or env:NAME",
    );
  }
  throw new UsageError(
    "--proxy: a password on the command line is for all to see",
    "put the URL into a variable, and give --proxy env:NAME",
  );
}
