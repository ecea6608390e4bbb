/**
 * A small mail server for the demo: POP3 (RFC 1939) over two messages, held in memory.
 *
 * @module
 */
import { createServer, type Server, type Socket } from "node:net";
import { listenOnLoopback, readLines, stopListening, writeText } from "./demo_net.ts";

/** Who may read the mail. */
export interface MailAccount {
  /** The user's name. */
  readonly user: string;
  /** The user's password. */
  readonly password: string;
}

/** The mail server, listening. */
export interface MailServer {
  /** Its port on 127.0.0.1. */
  readonly port: number;
  /** Ends it and its connections. */
  close(): Promise<void>;
}

/** Bytes of a command, its line end included (RFC 2449 section 4). */
const MAX_COMMAND = 255;
/** Milliseconds without a command until the server hangs up (RFC 1939 section 3). */
const IDLE_TIMEOUT = 600_000;

const CAPABILITIES: readonly string[] = ["USER", "TOP", "UIDL", "IMPLEMENTATION fairlead-demo"];

/** Ends each line; the messages are ASCII, so characters count as octets. */
const CRLF = "\r\n";

/**
 * Starts the mail server on a free port of 127.0.0.1.
 *
 * @param account Who may read the mail.
 * @param messages The messages, without line ends' CR.
 * @returns The server, listening.
 */
export async function startMailServer(
  account: MailAccount,
  messages: readonly string[],
): Promise<MailServer> {
  const mailbox: Mailbox = { messages: messages.map((text) => text.replaceAll("\n", CRLF)) };
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.setTimeout(IDLE_TIMEOUT, () => socket.destroy());
    // A client that breaks off ends its own connection only.
    talk(socket, new MailSession(account, mailbox)).catch(() => {}).finally(() => socket.end());
  });
  const port = await listenOnLoopback(server);
  return { port, close: () => stopListening(server, sockets) };
}

async function talk(socket: Socket, session: MailSession): Promise<void> {
  await writeText(socket, `+OK fairlead demo mail server ready${CRLF}`);
  for await (const line of readLines(socket, MAX_COMMAND)) {
    await writeText(socket, session.answer(line));
    if (session.over) return;
  }
}

/** What all sessions share; a message that was deleted is gone for the next. */
interface Mailbox {
  messages: readonly string[];
}

/** One client's session: AUTHORIZATION, TRANSACTION, UPDATE. */
class MailSession {
  readonly #account: MailAccount;
  readonly #mailbox: Mailbox;
  readonly #deleted = new Set<string>();
  #messages: readonly string[] = [];
  #user: string | undefined;
  #authorized = false;
  /** Whether the client has said goodbye. */
  over = false;

  constructor(account: MailAccount, mailbox: Mailbox) {
    this.#account = account;
    this.#mailbox = mailbox;
  }

  /** @returns The whole answer to one command. */
  answer(line: string): string {
    const [keyword = "", ...args] = line.trim().split(" ");
    const command = keyword.toUpperCase();
    switch (command) {
      case "CAPA":
        return multiline("capabilities follow", CAPABILITIES);
      case "QUIT":
        return this.#quit();
    }
    return this.#authorized ? this.#transact(command, args) : this.#authorize(command, line);
  }

  #authorize(command: string, line: string): string {
    // The rest of the line is the argument: a password may have spaces.
    const argument = line.slice(command.length + 1);
    if (command === "USER") {
      this.#user = argument;
      return ok("now the password");
    }
    if (command !== "PASS") return bad("log in first");
    const { user, password } = this.#account;
    if (this.#user !== user || argument !== password) return bad("wrong user or password");
    this.#authorized = true;
    this.#messages = this.#mailbox.messages;
    return ok(`${this.#messages.length} messages`);
  }

  #transact(command: string, args: readonly string[]): string {
    switch (command) {
      case "STAT": {
        const left = this.#messages.filter((text) => !this.#deleted.has(text));
        return ok(`${left.length} ${left.reduce((sum, text) => sum + text.length, 0)}`);
      }
      case "LIST":
        return this.#list(args[0], (text) => String(text.length));
      case "UIDL":
        return this.#list(args[0], (text) => `demo-${this.#messages.indexOf(text) + 1}`);
      case "RETR":
        return this.#withMessage(args[0], (text) => multiline("message follows", linesOf(text)));
      case "TOP":
        return this.#top(args);
      case "DELE":
        return this.#withMessage(args[0], (text) => {
          this.#deleted.add(text);
          return ok("deleted");
        });
      case "RSET":
        this.#deleted.clear();
        return ok("nothing is deleted");
      case "NOOP":
        return ok("");
      default:
        return bad("unknown command");
    }
  }

  #list(argument: string | undefined, describe: (text: string) => string): string {
    const number = (text: string) => this.#messages.indexOf(text) + 1;
    if (argument !== undefined) {
      return this.#withMessage(argument, (text) => ok(`${number(text)} ${describe(text)}`));
    }
    const left = this.#messages.filter((text) => !this.#deleted.has(text));
    return multiline("", left.map((text) => `${number(text)} ${describe(text)}`));
  }

  #top([argument, count = ""]: readonly string[]): string {
    if (!/^\d{1,9}$/.test(count)) return bad("how many lines?");
    return this.#withMessage(argument, (text) => {
      const lines = linesOf(text);
      return multiline("top follows", lines.slice(0, lines.indexOf("") + 1 + Number(count)));
    });
  }

  #withMessage(argument: string | undefined, use: (text: string) => string): string {
    const text = this.#messages[Number(argument) - 1];
    return text === undefined || this.#deleted.has(text) ? bad("no such message") : use(text);
  }

  #quit(): string {
    this.over = true;
    this.#mailbox.messages = this.#mailbox.messages.filter((text) => !this.#deleted.has(text));
    return ok("goodbye");
  }
}

function ok(words: string): string {
  return `${`+OK ${words}`.trim()}${CRLF}`;
}

function bad(words: string): string {
  return `-ERR ${words}${CRLF}`;
}

/** A line that begins with a dot gets another one, so that it is not taken for the end. */
function multiline(words: string, lines: readonly string[]): string {
  const stuffed = lines.map((line) => line.startsWith(".") ? `.${line}` : line);
  return ok(words) + [...stuffed, ".", ""].join(CRLF);
}

/** The lines of a message, without the end of the last one. */
function linesOf(text: string): string[] {
  return text.replace(/\r\n$/, "").split(CRLF);
}
