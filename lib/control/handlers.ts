/**
 * What the background process of named tunnels can be asked for.
 *
 * @module
 */
import type { TunnelMethods } from "./protocol.ts";
import type { Handlers } from "./server.ts";
import type { Supervisor } from "./supervisor.ts";

/** What the process does besides keeping tunnels. */
export interface ProcessActions {
  /** Serves metrics from now on, and tells where. */
  readonly serveMetrics: (address: string) => Promise<{ host: string; port: number }>;
}

/**
 * Has a supervisor asked over a control socket.
 *
 * @param supervisor The supervisor.
 * @param actions What the process does besides.
 * @returns What serveControl() takes.
 */
export function handlersOf(supervisor: Supervisor, actions: ProcessActions): Handlers {
  type Params<Method extends keyof TunnelMethods> = TunnelMethods[Method]["params"];
  return {
    status: () => supervisor.status(),
    up: async (params, call) => {
      const { metrics } = params as unknown as Params<"up">;
      if (metrics !== undefined) {
        call.event({ event: "metrics", ...await actions.serveMetrics(metrics) });
      }
      return await supervisor.up(params as unknown as Params<"up">, call);
    },
    down: (params, call) => supervisor.down(params as Params<"down">, call),
    reload: (params, call) => supervisor.reload(params as unknown as Params<"reload">, call),
    restart: (params, call) => supervisor.restart(params as Params<"restart">, call),
    add: (params) => supervisor.add(params as unknown as Params<"add">),
    remove: (params) => supervisor.remove(params as unknown as Params<"remove">),
  } satisfies { readonly [Method in keyof TunnelMethods]: Handlers[string] };
}
