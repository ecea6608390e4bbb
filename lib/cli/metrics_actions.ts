/**
 * --metrics of a process that keeps named tunnels.
 *
 * @module
 */
import type { ProcessActions } from "../control/handlers.ts";
import type { Status } from "../control/status.ts";
import { FairleadError } from "../errors.ts";

/**
 * Serves metrics where and when that is asked for.
 *
 * @param _status What is served.
 * @returns What to call.
 */
export function metricsActions(
  _status: () => Status,
): ProcessActions & { close(): Promise<void> } {
  return {
    serveMetrics: () => {
      throw new FairleadError("--metrics: not yet", { code: "not-supported" });
    },
    close: () => Promise.resolve(),
  };
}
