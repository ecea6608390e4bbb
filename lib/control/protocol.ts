/**
 * What is said over a control socket: one JSON object a line. The client begins with an empty line,
 * by which it is told from an OpenSSH client, and the server answers with a greeting; then each
 * request has any number of events and questions, and one result or one error.
 *
 * @module
 */
import type { Prompter } from "../ssh/prompter.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import type { ForwardStatus, Status, TunnelState } from "./status.ts";

/** Whoever asks for something, for as long as it is carried out. */
export interface Call {
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Tells what happens meanwhile. */
  event(event: ControlEvent): void;
  /** Whom to ask, where somebody may be asked. */
  readonly prompter?: Prompter | undefined;
}

/** The versions of this protocol that this program speaks, the oldest and the newest. */
export const PROTOCOL: readonly [oldest: number, newest: number] = [1, 1];

/** The first line of the server. Its form is the same in every version there will be. */
export interface Greeting {
  readonly fairlead: string;
  readonly protocol: readonly [oldest: number, newest: number];
  readonly pid: number;
  /** What answers: the background process of named tunnels, or a master of -M. */
  readonly serves: "tunnels" | "master";
}

/** What a client says. */
export type ClientLine =
  | {
    readonly id: number;
    /** The version it speaks, on each request. */
    readonly protocol: number;
    readonly method: string;
    readonly params?: unknown;
  }
  /** To a question; without a value where the person declined. */
  | { readonly id: number; readonly question: number; readonly value?: unknown }
  | {
    readonly id: number;
    readonly question: number;
    readonly refusal: { readonly message: string; readonly hint?: string };
  };

/** What a server says. */
export type ServerLine =
  | { readonly id: number; readonly event: ControlEvent }
  | {
    readonly id: number;
    readonly question: number;
    readonly ask: keyof Prompter;
    readonly words: readonly unknown[];
  }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: ControlError }
  /** What concerns no request: the connection ends with it. */
  | { readonly error: ControlError };

/** An error as it travels. */
export interface ControlError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** What happens while a request is carried out. */
export type ControlEvent =
  | {
    readonly event: "tunnel";
    readonly name: string;
    readonly state: TunnelState | "down";
    /** Why it is in that state, for people. */
    readonly reason?: string;
  }
  | { readonly event: "forward"; readonly name: string; readonly forward: ForwardStatus }
  | { readonly event: "failed"; readonly name: string; readonly error: ControlError }
  | { readonly event: "banner"; readonly name: string; readonly text: string }
  /** Where metrics are served now, with the real port. */
  | {
    readonly event: "metrics";
    readonly name?: undefined;
    readonly host: string;
    readonly port: number;
  }
  /** Anything else that a person may read. */
  | { readonly event: "note"; readonly name?: string; readonly message: string };

/** What the background process of named tunnels is asked, and what it answers. */
export interface TunnelMethods {
  status: { params: Record<never, never>; result: Status };
  /** Answered once every one of them is up, or has failed. */
  up: {
    params: {
      readonly tunnels: readonly TunnelConfig[];
      readonly secrets: Readonly<Record<string, TunnelSecrets>>;
      /** Where metrics are to be served. */
      readonly metrics?: string;
    };
    result: Status;
  };
  /** Without names, all. Dependents go first, and without being named. */
  down: {
    params: { readonly names?: readonly string[]; readonly force?: boolean };
    result: { readonly down: readonly string[] };
  };
  /** All tunnels of one file as they are to be; touches only what differs. */
  reload: {
    params: {
      readonly file: string;
      readonly tunnels: readonly TunnelConfig[];
      readonly secrets: Readonly<Record<string, TunnelSecrets>>;
    };
    result: { readonly changes: readonly string[]; readonly status: Status };
  };
  /** New sessions; what is open on the old ones may finish. */
  restart: { params: { readonly names?: readonly string[] }; result: Status };
  add: {
    params: { readonly tunnel: string; readonly forward: ForwardRequest };
    result: ForwardStatus;
  };
  /** By name, by the text of the forward, or by its port. */
  remove: {
    params: { readonly tunnel: string; readonly forward: string; readonly force?: boolean };
    result: ForwardStatus;
  };
}
