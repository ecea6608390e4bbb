/**
 * From a forward that is asked for to one that listens.
 *
 * @module
 */
import type { Forward } from "../forward/forward.ts";
import type { ListenOptions } from "../forward/listener.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import type { ForwardRequest, Settings } from "./settings.ts";

/** What of the settings concerns listeners. */
export type ListenSettings = Pick<
  Settings,
  | "gatewayPorts"
  | "streamLocalBindMask"
  | "streamLocalBindUnlink"
  | "permitRemoteOpen"
  | "addressFamily"
>;

/**
 * Has a forward listen as it is configured (GatewayPorts, StreamLocalBind*, PermitRemoteOpen).
 *
 * @param tunnel The session.
 * @param request The forward.
 * @param settings What is configured.
 * @param signal Gives it up.
 * @returns The forward, listening.
 * @throws {ForwardError} When it cannot listen.
 */
export async function startForward(
  tunnel: Tunnel,
  request: ForwardRequest,
  settings: ListenSettings,
  signal: AbortSignal,
): Promise<Forward> {
  switch (request.kind) {
    case "local":
      return await tunnel.forwardLocal(request.spec, {
        ...listenOptions(settings),
        signal,
      }) as Forward;
    case "dynamic":
      return await tunnel.forwardDynamic(request.spec, {
        ...listenOptions(settings),
        signal,
      }) as Forward;
    case "remote": {
      const { permitRemoteOpen } = settings;
      const options = { signal, ...(permitRemoteOpen === undefined ? {} : { permitRemoteOpen }) };
      return await tunnel.forwardRemote(request.spec, options) as Forward;
    }
  }
}

/**
 * Whether what listens on this machine would listen in the same way.
 *
 * @param one What is configured.
 * @param other What was configured before.
 * @returns Whether it would.
 */
export function sameListening(one: ListenSettings, other: ListenSettings): boolean {
  const essence = (settings: ListenSettings) =>
    JSON.stringify([listenOptions(settings), settings.addressFamily]);
  return essence(one) === essence(other);
}

function listenOptions(settings: ListenSettings): ListenOptions {
  const { gatewayPorts, streamLocalBindMask, streamLocalBindUnlink } = settings;
  return {
    ...(gatewayPorts === undefined ? {} : { gatewayPorts }),
    ...(streamLocalBindMask === undefined ? {} : { streamLocalBindMask }),
    ...(streamLocalBindUnlink === undefined ? {} : { streamLocalBindUnlink }),
  };
}
