// @ts-check
/**
 * The action's second part, at the job's end: closes the tunnel of the step, and shows its log.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { showLog, state, warning } from "./runner.mjs";
import { closeTunnel } from "./tunnel.mjs";

const folder = state("folder");
// The first part has opened none, or it failed and has said why.
if (folder !== "" && existsSync(folder)) {
  const { log, complaint } = await closeTunnel(folder);
  if (log !== "") showLog("fairlead's log", log);
  // No failure: what needed the tunnel has failed already, and what did not, need not.
  if (complaint === undefined) console.log("the tunnel is closed");
  else warning(complaint);
}
