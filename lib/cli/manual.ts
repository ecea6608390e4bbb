/** x */
/** x */
export function runManual(_args: readonly string[]): number {
  return 0;
}
