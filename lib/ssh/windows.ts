/**
 * The windows of one connection's channels, as they are offered to the server.
 *
 * @module
 */
import { PacketDecipher } from "./ciphers/packets.ts";
import { RoundTrip } from "./round_trip.ts";
import type { EngineClient } from "./ssh2.ts";
import type { Transport } from "./transport.ts";
import { ChannelWindow } from "./window.ts";
import type { WindowBudget } from "./window_budget.ts";

/** Bytes of data in one packet, as every implementation must take them (RFC 4253 section 6.1). */
const USUAL_PACKET = 32 * 1024;
/**
 * The same where a decipher of ours takes in larger ones. It is not only that fewer are cheaper.
 * sshd reads ahead from a destination by 32 KiB at a time, as far as the window goes, and the
 * memory for that costs it the more the more there is: with large packets it sends all of it as
 * soon as it may. Whole packets stay below 256 KiB, where OpenSSH and others draw the line.
 */
const LARGE_PACKET = 240 * 1024;

/** ssh2 offers the same 2 MiB and 32 KiB with every channel: here each gets its own. */
export class Windows {
  /** The way to the server and back. */
  readonly roundTrip: RoundTrip;
  readonly #budget: WindowBudget;
  #offered: ChannelWindow | undefined;

  /**
   * @param engine The open connection.
   * @param transport What it runs over.
   * @param budget Where the windows come from.
   */
  constructor(engine: EngineClient, transport: Transport, budget: WindowBudget) {
    this.roundTrip = new RoundTrip(engine, transport);
    this.#budget = budget;
    this.#replaceOffers(engine);
  }

  /**
   * Takes a window for a channel to be.
   *
   * @returns The window; it must be closed where the channel is not opened.
   */
  next(): ChannelWindow {
    return new ChannelWindow(this.#budget, this.roundTrip);
  }

  /**
   * Has ssh2 open or confirm a channel with a window.
   *
   * @param window The channel's window.
   * @param act Has ssh2 do it, at once.
   * @returns What that returned.
   */
  offer<Result>(window: ChannelWindow, act: () => Result): Result {
    this.#offered = window;
    try {
      return act();
    } finally {
      this.#offered = undefined;
    }
  }

  #replaceOffers({ _protocol: protocol }: EngineClient): void {
    const packet = protocol._decipher instanceof PacketDecipher ? LARGE_PACKET : USUAL_PACKET;
    for (const name of ["directTcpip", "openssh_directStreamLocal", "session"] as const) {
      const open = protocol[name].bind(protocol);
      protocol[name] = (channel, usual, _packet, where) => {
        open(channel, this.#offered?.open ?? usual, packet, where);
      };
    }
    const confirm = protocol.channelOpenConfirm.bind(protocol);
    protocol.channelOpenConfirm = (recipient, channel, usual) => {
      confirm(recipient, channel, this.#offered?.open ?? usual, packet);
    };
  }
}
