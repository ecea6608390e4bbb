/**
 * A small POP3 client for the demo: it fetches all messages, as a mail program would.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { messageOf } from "../errors.ts";
import type { MailAccount } from "./demo_mail.ts";
import { readLines } from "./demo_net.ts";

/** Characters of one line of an answer. */
const MAX_LINE = 1000;
/** Milliseconds without a word from the server. */
const TIMEOUT = 10_000;

/**
 * Fetches all messages over POP3.
 *
 * @param port The port on 127.0.0.1.
 * @param account Who reads the mail.
 * @returns The messages, in the server's order.
 * @throws {Error} When the server does not answer, or not with +OK.
 */
export async function fetchMail(port: number, account: MailAccount): Promise<string[]> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.setTimeout(TIMEOUT, () => socket.destroy(new Error("no answer in time")));
  const client = new MailClient(socket);
  try {
    await client.greeting();
    await client.command(`USER ${account.user}`);
    await client.command(`PASS ${account.password}`);
    const [, count] = (await client.command("STAT")).split(" ");
    const messages: string[] = [];
    for (let number = 1; number <= Number(count); number++) {
      await client.command(`RETR ${number}`);
      messages.push(await client.text());
    }
    await client.command("QUIT");
    return messages;
  } catch (error) {
    throw new Error(`fetching the mail from 127.0.0.1:${port} failed: ${messageOf(error)}`);
  } finally {
    socket.destroy();
  }
}

class MailClient {
  readonly #socket: Socket;
  readonly #lines: AsyncGenerator<string>;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = readLines(socket, MAX_LINE);
  }

  async greeting(): Promise<void> {
    await this.#status("the greeting");
  }

  /** @returns The status line. */
  command(line: string): Promise<string> {
    this.#socket.write(`${line}\r\n`);
    return this.#status(line.split(" ", 1).join());
  }

  /** @returns The text that follows a status line, with the dots as they were. */
  async text(): Promise<string> {
    let text = "";
    for (;;) {
      const line = await this.#next();
      if (line === ".") return text;
      text += `${line.startsWith(".") ? line.slice(1) : line}\n`;
    }
  }

  async #status(what: string): Promise<string> {
    const line = await this.#next();
    // Without the line's own text: after PASS it could hold anything.
    if (!line.startsWith("+OK")) throw new Error(`the mail server does not accept ${what}`);
    return line;
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the mail server hung up");
    return value;
  }
}
