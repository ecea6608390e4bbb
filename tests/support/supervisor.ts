/** A supervisor of named tunnels, and whoever asks it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Call, ControlEvent } from "../../lib/control/protocol.ts";
import type { ForwardStatus, Status, TunnelStatus } from "../../lib/control/status.ts";
import { Supervisor } from "../../lib/control/supervisor.ts";
import type { Prompter } from "../../lib/ssh/prompter.ts";
import { tunnelsOf } from "./named_tunnels.ts";
import type { Reach } from "./ssh_server.ts";

/** A supervisor that ends with its test, and a call that notes what happens. */
export function supervise(sshd: Reach, prompter?: Prompter) {
  let empty = 0;
  const supervisor = new Supervisor({ version: "1.2.3", onEmpty: () => empty++ });
  const events: ControlEvent[] = [];
  /** Somebody who asks; several may. */
  const caller = () => {
    const over = new AbortController();
    const event = (event: ControlEvent) => void events.push(event);
    const call: Call = { signal: over.signal, event, prompter };
    return { call, giveUp: () => over.abort() };
  };
  const { call, giveUp } = caller();
  return {
    ...{ supervisor, call, events, giveUp, caller },
    isEmpty: () => empty > 0,
    /** The status of one tunnel now. */
    now: (name: string) => tunnelIn(supervisor.status(), name),
    up: (text: string, own = call) =>
      supervisor.up({ tunnels: tunnelsOf(sshd, text), secrets: {} }, own),
    reload: (text: string, file = "/project/fairlead.yaml") =>
      supervisor.reload({ file, tunnels: tunnelsOf(sshd, text, file), secrets: {} }, call),
    [Symbol.asyncDispose]: () => supervisor.close({ force: true }),
  };
}

/** One tunnel of a status. */
export function tunnelIn(status: Status, name: string): TunnelStatus {
  const found = status.tunnels.find((tunnel) => tunnel.name === name);
  assert.ok(found, `${name} is not among ${status.tunnels.map(({ name }) => name)}`);
  return found;
}

/** The port that a forward listens on; 0 where it does not. */
export function portOf(forward: ForwardStatus | undefined): number {
  const [address] = forward?.addresses ?? [];
  return address !== undefined && "port" in address ? address.port : 0;
}

/** Sends a word to an echo server, and has it come back. */
export async function says(socket: Socket, word: string): Promise<void> {
  socket.write(word);
  assert.equal(String((await once(socket, "data"))[0]), word);
}
