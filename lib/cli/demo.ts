/**
 * The demo: mail through a tunnel, with every part of it in this one process.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { messageOf } from "../errors.ts";
import { formatForward } from "../forward/spec.ts";
import { serve } from "../server/server.ts";
import { generateIdentity } from "../ssh/keys.ts";
import { connect } from "../tunnel/tunnel.ts";
import { fetchMail } from "./demo_fetch.ts";
import { type MailAccount, startMailServer } from "./demo_mail.ts";
import { prove } from "./demo_proof.ts";
import { startTap } from "./demo_tap.ts";

/** How the demo runs. */
export interface DemoOptions {
  /** Whether everything goes on running after the steps, until the signal. */
  readonly keep: boolean;
  /** Shows one line of text, without its end. */
  readonly print: (line: string) => void;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

const HOST = "127.0.0.1";
const SSH_USER = "demo";

const MESSAGES: readonly string[] = [
  `From: Harbour Office <office@harbour.example>
To: Crew <crew@harbour.example>
Date: Mon, 16 Jun 2025 07:30:00 +0000
Subject: Berth 7 is yours from noon

The pilot boards at the outer buoy, half past eleven.
Please have two lines ready on the starboard side.
`,
  `From: Chandler <shop@harbour.example>
To: Crew <crew@harbour.example>
Date: Mon, 16 Jun 2025 08:05:00 +0000
Subject: Your fairlead has arrived

It is bronze, it is polished, and no rope will chafe in it.
...or so says the leaflet, which begins with three dots.
`,
];

/**
 * Shows local forwarding from end to end, and proves what it hides.
 *
 * @param options Where to print, and when to end.
 * @returns The exit status: 0 when every step held, otherwise 1.
 */
export async function demo(options: DemoOptions): Promise<number> {
  const started: Part[] = [];
  try {
    await run(options, started);
    return 0;
  } catch (error) {
    options.print("");
    options.print(
      options.signal?.aborted
        ? "The demo was ended before it was through."
        : `The demo failed: ${messageOf(error)}`,
    );
    return 1;
  } finally {
    // Node 20 has no AsyncDisposableStack.
    for (const part of started.reverse()) await part.close({ force: true });
  }
}

/** What was started, and is to be closed. */
interface Part {
  close(options: { force: true }): Promise<unknown>;
}

async function run({ keep, print, signal }: DemoOptions, started: Part[]): Promise<void> {
  const say = (...lines: string[]) => lines.forEach(print);
  // Random, since every user of this machine can connect to the mail server.
  const account: MailAccount = { user: "crew", password: randomBytes(9).toString("hex") };

  say("Mail through an SSH tunnel. All of it runs in this one process, on loopback.");
  const mail = await startMailServer(account, MESSAGES);
  started.push(mail);
  say(
    "",
    `1. A mail server listens on ${HOST}:${mail.port}: POP3, without encryption.`,
    `   It holds ${MESSAGES.length} messages for the user "${account.user}".`,
  );

  const hostKey = generateIdentity();
  const identity = generateIdentity();
  const server = await serve({
    hostKeys: [hostKey.privateKey],
    authMethods: ["publickey"],
    authorize: ({ username, key }) =>
      username === SSH_USER &&
      key?.blob.toString("base64") === identity.publicKey.split(" ")[1],
    allow: ({ host, port }) => host === HOST && port === mail.port,
  });
  started.push(server);
  const wire = await startTap(server.port);
  started.push(wire);
  say(
    "",
    `2. An SSH server that only forwards listens on ${HOST}:${wire.port}.`,
    `   Its host key is ${server.fingerprints.join()}.`,
    "   Every byte between it and its clients is captured, as somebody on the",
    "   network could.",
  );

  const tunnel = await connect({
    host: HOST,
    port: wire.port,
    username: SSH_USER,
    hostKeys: server.publicKeys,
    privateKeys: [identity.privateKey],
    identityFiles: [],
    agent: "none",
    ...(signal === undefined ? {} : { signal }),
  });
  started.push(tunnel);
  const forward = await tunnel.forwardLocal({
    listen: { bind: HOST, port: 0 },
    destination: { host: HOST, port: mail.port },
  });
  const spec = { listen: { port: forward.port }, destination: forward.spec.destination };
  say(
    "",
    `3. A forward listens on ${HOST}:${forward.port}. What comes in there goes`,
    "   through the SSH server to the mail server. As a command line:",
    `     fairlead -L ${formatForward(spec)} -p ${wire.port} ${SSH_USER}@${HOST}`,
  );

  const handshake = wire.size;
  const tunnelled = await fetchMail(forward.port, account);
  expectSame(tunnelled);
  if (wire.size - handshake < MESSAGES.join("").length) {
    throw new Error("the mail did not go through what was captured, so nothing can be proved");
  }
  say("", `4. The mail, fetched from ${HOST}:${forward.port}, through the tunnel:`);
  for (const message of tunnelled) say("", ...excerpt(message));

  const encrypted = wire.captured();
  const plain = await captureDirectFetch(mail.port, account);
  prove(encrypted, plain, secretsOf(account));
  say(
    "",
    `5. The proof. ${count(encrypted)} bytes were captured between client and SSH server:`,
    "   no sentence of the messages is in them, nor is the password.",
    "   Then the mail was fetched once more, directly, without the tunnel, and",
    `   ${count(plain)} bytes were captured: the same search finds every sentence in them,`,
    "   and the password.",
  );

  say(
    "",
    "6. What is protected, and what is not.",
    "   Protected: the way from the client to the SSH server.",
    "   Not protected: the way from the SSH server to the mail server. There the",
    "   mail travels as POP3 sends it, in plain text.",
    "   Not protected: the listener. Any user of this machine can connect to",
    `   ${HOST}:${forward.port} for as long as the forward is up.`,
  );

  if (!keep || signal?.aborted) return;
  const url = (port: number) => `pop3://${account.user}:${account.password}@${HOST}:${port}`;
  say(
    "",
    "Everything goes on running, until Ctrl-C. Try in another terminal:",
    "the list of messages, and the first one, through the tunnel,",
    `  curl ${url(forward.port)}/`,
    `  curl ${url(forward.port)}/1`,
    "and the same one directly,",
    `  curl ${url(mail.port)}/1`,
    `or point a mail program at ${HOST}, port ${forward.port}: POP3, no encryption,`,
    `user ${account.user}, password ${account.password}.`,
  );
  const lost = tunnel.closed.then((reason) => {
    throw reason ?? new Error("the tunnel was closed");
  });
  await (signal === undefined ? lost : Promise.race([once(signal, "abort"), lost]));
}

async function captureDirectFetch(port: number, account: MailAccount): Promise<Buffer> {
  const wire = await startTap(port);
  try {
    expectSame(await fetchMail(wire.port, account));
    return wire.captured();
  } finally {
    await wire.close();
  }
}

function expectSame(messages: readonly string[]): void {
  if (messages.join("\0") !== MESSAGES.join("\0")) {
    throw new Error("what was fetched is not what the mail server holds");
  }
}

/** What the search looks for: the subjects, each line of the bodies, and the password. */
function secretsOf(account: MailAccount): Map<string, string> {
  const sentences = MESSAGES.map(parts).flatMap(({ subject, body }) => [subject, ...body]);
  return new Map([
    ...sentences.map((text) => [`"${text}"`, text] as const),
    ["the password", account.password],
  ]);
}

function excerpt(message: string): string[] {
  const { from, subject, body } = parts(message);
  return [`From: ${from}`, `Subject: ${subject}`, "", ...body].map((line) =>
    line === "" ? "" : `     ${line}`
  );
}

function parts(message: string): { from: string; subject: string; body: string[] } {
  const [head = "", body = ""] = message.split("\n\n");
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(head)?.[1] ?? "";
  return { from: header("From"), subject: header("Subject"), body: body.trim().split("\n") };
}

function count(bytes: Buffer): string {
  return bytes.length.toLocaleString("en-US");
}
