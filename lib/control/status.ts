/**
 * What can be seen of tunnels while they run, as `status --json` shows it.
 *
 * @module
 */
import type { Address } from "../dialer.ts";
import type { ConnectionStats } from "../forward/connections.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";

/** Where a tunnel stands: as its session, or before and after there is one. */
export type TunnelState =
  /** For the tunnels that it depends on. */
  | "waiting"
  | "connecting"
  | "open"
  | "reconnecting"
  /** What is open may finish. */
  | "draining"
  /** For good: nothing is tried any more until `restart`. */
  | "failed";

/** Something that went wrong. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** When, in ISO 8601. */
  readonly time: string;
}

/** One forward. */
export interface ForwardStatus {
  readonly kind: ForwardRequest["kind"];
  /** As -L, -R or -D writes it: what was asked for. */
  readonly forward: string;
  readonly name?: string;
  readonly state: "listening" | "failed" | "down";
  /** Where it listens, with real ports. */
  readonly addresses: readonly Address[];
  /** Where to; missing for SOCKS. */
  readonly destination?: Address;
  readonly failure?: Failure;
  /** What it has carried since the tunnel was first up; it survives `restart`. */
  readonly stats: ConnectionStats;
}

/** One tunnel. */
export interface TunnelStatus {
  readonly name: string;
  readonly file: string;
  readonly groups: readonly string[];
  readonly dependsOn: readonly string[];
  /** `user@host:port`, as far as it is known. */
  readonly destination: string;
  readonly state: TunnelState;
  /** Since when, in ISO 8601. */
  readonly since: string;
  /** How often a lost link came back. */
  readonly reconnects: number;
  /** SSH connections that are open. */
  readonly sshConnections: number;
  /** Callers that wait for a lost link. */
  readonly parked: number;
  /** The last thing that went wrong, over by now or not. */
  readonly failure?: Failure;
  readonly forwards: readonly ForwardStatus[];
}

/** All of one background process. */
export interface Status {
  /** Its version of fairlead. */
  readonly version: string;
  readonly pid: number;
  /** When it began, in ISO 8601. */
  readonly since: string;
  /** In the order in which they were asked for. */
  readonly tunnels: readonly TunnelStatus[];
}
