/**
 * An ssh-agent (draft-miller-ssh-agent) that holds FIDO keys in software: what an authenticator
 * signs, with flags and a counter, is made as PROTOCOL.u2f of OpenSSH says, and sshd verifies it.
 */
import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type Stoppable, stoppable, tempDir } from "./tools.ts";

/** A FIDO key of the agent. */
export interface FidoKey {
  readonly type: "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com";
  readonly blob: Buffer;
  /** As authorized_keys wants it. */
  readonly publicLine: string;
}

/** The agent and what it was asked. */
export interface FidoAgent extends Stoppable {
  readonly socket: string;
  readonly ed25519: FidoKey;
  readonly ecdsa: FidoKey;
  /** The types of the keys that it signed with. */
  readonly signed: string[];
}

const APPLICATION = "ssh:";
const USER_PRESENT = 1;

/** Starts the agent, with one key of each type. */
export async function startFidoAgent(): Promise<FidoAgent> {
  const folder = await tempDir();
  const socket = join(folder.path, "agent");
  const holders = [ed25519Holder(), ecdsaHolder()];
  const signed: string[] = [];
  let counter = 0;
  const answer = (message: Buffer): Buffer => {
    if (message[0] === 11) {
      const keys = holders.flatMap(({ key }) => [
        text(key.blob),
        text(`${key.type.split("@")[0]} on a token`),
      ]);
      return Buffer.concat([Buffer.from([12]), uint32(holders.length), ...keys]);
    }
    const [blob = Buffer.alloc(0), data = Buffer.alloc(0)] = strings(message.subarray(1));
    const holder = holders.find(({ key }) => key.blob.equals(blob));
    if (message[0] !== 13 || holder === undefined) return Buffer.from([5]);
    signed.push(holder.key.type);
    const tail = Buffer.concat([Buffer.from([USER_PRESENT]), uint32(++counter)]);
    const signature = holder.sign(Buffer.concat([sha256(APPLICATION), tail, sha256(data)]));
    const whole = Buffer.concat([text(holder.key.type), text(signature), tail]);
    return Buffer.concat([Buffer.from([14]), text(whole)]);
  };
  const server = createServer((client) => serve(client, answer));
  server.listen(socket);
  await once(server, "listening");
  const [ed25519, ecdsa] = holders.map(({ key }) => key) as [FidoKey, FidoKey];
  return stoppable({ socket, ed25519, ecdsa, signed }, async () => {
    server.close();
    await folder.stop();
  });
}

interface Holder {
  readonly key: FidoKey;
  /** The signature of what the authenticator signs, without flags and counter. */
  sign(data: Buffer): Buffer;
}

function ed25519Holder(): Holder {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const type = "sk-ssh-ed25519@openssh.com";
  return {
    key: fidoKey(type, [coordinate(publicKey, "x")]),
    sign: (data) => sign(null, data, privateKey),
  };
}

function ecdsaHolder(): Holder {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const type = "sk-ecdsa-sha2-nistp256@openssh.com";
  const point = Buffer.concat([
    Buffer.from([4]),
    coordinate(publicKey, "x"),
    coordinate(publicKey, "y"),
  ]);
  return {
    key: fidoKey(type, [Buffer.from("nistp256"), point]),
    sign: (data) => {
      // DER: a sequence of two integers, each as an mpint has it.
      const der = sign("sha256", data, privateKey);
      const length = der[3] ?? 0;
      return Buffer.concat([text(der.subarray(4, 4 + length)), text(der.subarray(6 + length))]);
    },
  };
}

function fidoKey(type: FidoKey["type"], parts: Buffer[]): FidoKey {
  const blob = Buffer.concat([...[Buffer.from(type), ...parts].map(text), text(APPLICATION)]);
  return { type, blob, publicLine: `${type} ${blob.toString("base64")}` };
}

function coordinate(key: KeyObject, name: "x" | "y"): Buffer {
  return Buffer.from(key.export({ format: "jwk" })[name] ?? "", "base64url");
}

function serve(client: Socket, answer: (message: Buffer) => Buffer): void {
  let received = Buffer.alloc(0);
  client.on("error", () => {});
  client.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 4 && received.length >= 4 + received.readUInt32BE()) {
      const end = 4 + received.readUInt32BE();
      client.write(text(answer(received.subarray(4, end))));
      received = received.subarray(end);
    }
  });
}

function strings(data: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let position = 0; position + 4 <= data.length;) {
    const end = position + 4 + data.readUInt32BE(position);
    if (end > data.length) break; // flags
    found.push(data.subarray(position + 4, end));
    position = end;
  }
  return found;
}

const sha256 = (data: Buffer | string) => createHash("sha256").update(data).digest();

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function text(data: Buffer | string): Buffer {
  const bytes = Buffer.from(data as string);
  return Buffer.concat([uint32(bytes.length), bytes]);
}
