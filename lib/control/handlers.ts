/**
 * What the background process of named tunnels can be asked for.
 *
 * @module
 */
import type { TcpAddress } from "../dialer.ts";
import { checkedParams } from "./params.ts";
import type { TunnelMethods } from "./protocol.ts";
import type { Handlers } from "./server.ts";
import type { Supervisor } from "./supervisor.ts";

/** What the process does besides keeping tunnels. */
export interface ProcessActions {
  /** Serves metrics from now on, and says where. */
  readonly serveMetrics: (address: string) => Promise<TcpAddress>;
}

/**
 * Has a supervisor asked over a control socket.
 *
 * @param supervisor The supervisor.
 * @param actions What the process does besides.
 * @returns What serveControl() takes.
 */
export function handlersOf(supervisor: Supervisor, actions: ProcessActions): Handlers {
  return {
    status: () => supervisor.status(),
    up: async (params, call) => {
      const asked = checkedParams("up", params);
      if (asked.metrics !== undefined) {
        call.event({ event: "metrics", ...await actions.serveMetrics(asked.metrics) });
      }
      return await supervisor.up(asked, call);
    },
    down: (params, call) => supervisor.down(checkedParams("down", params), call),
    reload: (params, call) => supervisor.reload(checkedParams("reload", params), call),
    restart: (params, call) => supervisor.restart(checkedParams("restart", params), call),
    add: (params) => supervisor.add(checkedParams("add", params)),
    remove: (params) => supervisor.remove(checkedParams("remove", params)),
  } satisfies { readonly [Method in keyof TunnelMethods]: Handlers[string] };
}
