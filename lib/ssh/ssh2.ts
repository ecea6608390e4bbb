/**
 * The door to ssh2: what we use of it, with types for the inner parts that its own types leave out.
 *
 * Everything below an underscore is ssh2 1.17.0's own affair. It is pinned exactly, and every use
 * of it has a test that fails when it changes.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import ssh2, { type ClientChannel, type ParsedKey as SshKey } from "ssh2";

export type { ClientChannel, SshKey };

/** ssh2's client with the inner parts that SSH2_NOTES asks us to reach for. */
export interface EngineClient extends ssh2.Client {
  readonly _protocol: EngineProtocol;
  readonly _chanMgr: { readonly _count: number };
  /** Who waits for the answers to global requests, in the order of asking. */
  readonly _callbacks: ((had: boolean | Error) => void)[];
}

/** The protocol machine below a client or a server connection. */
export interface EngineProtocol {
  readonly _handlers: EngineHandlers;
  /** Whether this end is the server. */
  readonly _server: boolean;
  /** What is offered, as lists and as the bytes that are sent. */
  _offer: EngineOffer;
  /** The methods of the requests that are not answered yet: what a message 60 means. */
  readonly _authsQueue: string[];
  /** The key exchange; what the server signed is there only while its host key is judged. */
  readonly _kex: {
    readonly sessionID: Buffer;
    readonly _sig: Buffer | undefined;
    /** What was agreed on, from the client to the server. */
    readonly negotiated: { readonly cs: { readonly cipher: string } };
  };
  _hostVerifier: (key: Buffer, verdict: (permitted: boolean) => void) => boolean | undefined;
  /** Where each message passes, in and out. */
  readonly _packetRW: {
    readonly read: { read(payload: Buffer): Buffer; cleanup(): void };
    readonly write: {
      readonly allocStart: number;
      alloc(length: number): Buffer;
      finalize(packet: Buffer): Buffer;
    };
  };
  readonly _cipher: { encrypt(packet: Buffer): void };
  readonly _decipher: unknown;
  /** Set while keys are being exchanged; meanwhile packets wait in the queue. */
  readonly _kexinit: unknown;
  _queue: Buffer[] | undefined;
  /** Whether both sides keep to strict key exchange; known once the peer's KEXINIT is. */
  readonly _strictMode: boolean | undefined;
  /** Sends KEXINIT, unless keys are being exchanged already. */
  rekey(): void;
  /** Sends GLOBAL_REQUEST with the name keepalive@openssh.com. */
  ping(): void;
  /** Sends USERAUTH_REQUEST with the method `none`. */
  authNone(username: string): void;
  /** The same with `password`. */
  authPassword(username: string, password: string): void;
  /** The same with `keyboard-interactive`. */
  authKeyboard(username: string): void;
  /** Sends USERAUTH_INFO_RESPONSE. */
  authInfoRes(answers: string[]): void;
  /** Sends CHANNEL_OPEN for a connection to a TCP address. */
  directTcpip: OpenChannel;
  /** The same for a Unix socket on the server. */
  openssh_directStreamLocal: OpenChannel;
  /** The same for a command. */
  session: OpenChannel;
  /** Sends CHANNEL_OPEN_CONFIRMATION. */
  channelOpenConfirm(recipient: number, channel: number, window: number, packetSize: number): void;
  /** Sends CHANNEL_WINDOW_ADJUST: the peer may send that many bytes more. */
  channelWindowAdjust(recipient: number, bytes: number): void;
  /** Sends CHANNEL_OPEN_FAILURE with a description; ssh2's own reject() sends none. */
  channelOpenFail(recipient: number, reason: number, description: string): void;
}

/** Sends CHANNEL_OPEN with the window and the largest piece of data that we take. */
type OpenChannel = (channel: number, window: number, packetSize: number, where: unknown) => void;

/** What ssh2 offers in its KEXINIT: it sends one form of it and chooses from the other. */
export interface EngineOffer {
  readonly lists: {
    readonly kex: { array: readonly string[] };
    readonly serverHostKey: { readonly array: readonly string[] };
    readonly cs: EngineDirection;
    readonly sc: EngineDirection;
  };
  readonly constructor: new (lists: unknown) => EngineOffer;
}

type EngineDirection = {
  readonly [List in "cipher" | "mac" | "compress" | "lang"]: { readonly array: readonly string[] };
};

/** One exchange of keys. Each object is made when the peer's KEXINIT has been read. */
export interface EngineExchange {
  readonly negotiated: { kex: string };
  /** The hash of the exchange, as node:crypto calls it. */
  hashName: string;
  /** The peer's KEXINIT, for the exchange hash. */
  _remoteKexinit: Buffer;
  /** What is sent to the peer. */
  getPublicKey: () => Buffer;
  /** What the peer sent, as it is hashed. */
  convertPublicKey: (key: Buffer) => Buffer;
  /** The shared secret, as it is hashed; an error in its place ends the connection. */
  computeSecret: (key: Buffer) => Buffer | Error;
}

/** Handlers of incoming messages; replacing one is how messages that ssh2 hides are seen. */
export interface EngineHandlers {
  DEBUG?: (protocol: EngineProtocol, display: boolean, message: string) => void;
  CHANNEL_OPEN: (protocol: EngineProtocol, open: ChannelOpen) => void;
  SERVICE_ACCEPT: (protocol: EngineProtocol, service: string) => void;
  EXT_INFO: (protocol: EngineProtocol, extensions: { name: string; algs: string[] }[]) => void;
  USERAUTH_SUCCESS: (protocol: EngineProtocol) => void;
  USERAUTH_FAILURE: (protocol: EngineProtocol, methods: string[], partial: boolean) => void;
  USERAUTH_PK_OK: (protocol: EngineProtocol, algorithm: string, blob: Buffer) => void;
  USERAUTH_INFO_REQUEST: (
    protocol: EngineProtocol,
    name: string,
    instruction: string,
    prompts: { prompt: string; echo?: boolean }[],
  ) => void;
  USERAUTH_PASSWD_CHANGEREQ: (protocol: EngineProtocol, prompt: string) => void;
}

/** What a peer says of a channel that it opens (RFC 4254 section 5.1). */
export interface ChannelOpen {
  readonly type: string;
  /** The channel's number at the peer's end. */
  readonly sender: number;
  /** The largest piece of data that the peer takes. */
  readonly packetSize: number;
  /** Of the forwarding types (section 7.2); other types have other data. */
  readonly data: {
    /** The address that was connected, as the server knows it. */
    destIP: string;
    /** The port that was connected. */
    readonly destPort: number;
  };
}

/** One end of a channel as ssh2 keeps it (RFC 4254 section 5). */
export interface ChannelEnd {
  /** The channel's number at that end. */
  readonly id: number;
  /** Bytes that may still be sent towards that end, as ssh2 counts. */
  window: number;
  /** What has been received from, or sent to, the peer. */
  state: "open" | "eof" | "closing" | "closed";
}

/**
 * ssh2's channel, used as a codec only: its stream machinery is never started (SSH2_NOTES rows 1,
 * 2, 3 and 20 all live there).
 */
export interface EngineChannel {
  readonly incoming: ChannelEnd;
  readonly outgoing: ChannelEnd & {
    /** Bytes of the largest piece of data that the peer takes. */
    packetSize: number;
  };
  readonly _client: { readonly _protocol: EngineProtocol };
  /**
   * Called by ssh2 with each piece of data, and with null for EOF and for CLOSE. Whoever returns
   * true has ssh2 refill the window by its own measure.
   */
  push(chunk: Buffer | null): boolean;
  /** Sends data as far as the window allows, the rest as it opens; calls back when all is sent. */
  _write(chunk: Buffer, encoding: BufferEncoding, callback: () => void): void;
  /** The other stream of a session channel, likewise never started. */
  readonly stderr: { push(chunk: Buffer | null): boolean };
  /** Sends CHANNEL_EOF. */
  eof(): void;
  /** Sends CHANNEL_CLOSE. */
  close(): void;
}

/** A new ssh2 client. */
export function newClient(): EngineClient {
  return new ssh2.Client() as EngineClient;
}

/**
 * The codec within a channel that ssh2 hands out.
 *
 * @param channel What ssh2's callbacks call a stream.
 * @returns The same object, as what we use of it.
 */
export function engineChannel(channel: Duplex): EngineChannel {
  return channel as unknown as EngineChannel;
}

/**
 * Sends a message that ssh2 has no method for; it waits for the end of a key exchange as ssh2's do.
 *
 * @param protocol The connection's protocol machine.
 * @param payload The message, from its number on.
 */
export function sendPayload(protocol: EngineProtocol, payload: Buffer): void {
  const { write } = protocol._packetRW;
  const packet = write.alloc(payload.length);
  packet.set(payload, write.allocStart);
  const whole = write.finalize(packet);
  if (protocol._kexinit === undefined) protocol._cipher.encrypt(whole);
  else (protocol._queue ??= []).push(whole);
}

export const { Server } = ssh2;
export const { parseKey, generateKeyPairSync } = ssh2.utils;
