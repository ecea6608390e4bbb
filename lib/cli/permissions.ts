/**
 * What is said where Deno was started with too few permissions.
 *
 * @module
 */
import { messageOf, UsageError } from "../errors.ts";
import { missingPermission } from "../runtime.ts";

/**
 * Explains an error that comes from a missing permission.
 *
 * @param error What was thrown.
 * @returns What a person is to read; undefined where it is about something else.
 */
export function permissionError(error: unknown): UsageError | undefined {
  const flag = missingPermission(error);
  if (flag === undefined) return undefined;
  const what = /^Requires (.*?),? run again/.exec(messageOf(error))?.[1] ?? messageOf(error);
  return new UsageError(
    `no ${what}: Deno was started without ${flag} for it`,
    "forwarding takes at least --allow-net --allow-read --allow-env --allow-sys; " +
      'the README has more under "Permissions"',
  );
}
