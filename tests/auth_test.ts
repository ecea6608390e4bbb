/** How a user proves who they are: to the real sshd, and to ssh2's server for what sshd needs PAM. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import ssh2 from "ssh2";
import { SessionError } from "../lib/errors.ts";
import type { Prompter, Question } from "../lib/ssh/prompter.ts";
import { type EngineProtocol, sendPayload } from "../lib/ssh/ssh2.ts";
import { sshString } from "../lib/ssh/wire.ts";
import { connect, type ConnectOptions } from "../lib/tunnel/tunnel.ts";
import { skipUnlessAccounts } from "./support/accounts.ts";
import { type KeyPair, makeKey } from "./support/keys.ts";
import { startSshd } from "./support/sshd.ts";
import { skipUnless, type Stoppable, stoppable, tempDir } from "./support/tools.ts";
import { warned } from "./support/warnings.ts";

const sshd = skipUnless("sshd", "ssh-keygen");
const withPassword = sshd.skip === undefined ? skipUnlessAccounts({ password: true }) : sshd;
const keygen = skipUnless("ssh-keygen");

/** What is reached: a real sshd, or ssh2's server. */
interface Target {
  host: string;
  port: number;
  user: string;
  hostKeys: readonly KeyPair[];
}

/** Logs in and out again, with nothing but what the options say. */
async function login(server: Target, options: Partial<ConnectOptions>): Promise<void> {
  const tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    hostKeys: server.hostKeys.map((key) => key.fingerprint),
    identityFiles: [],
    agent: "none",
    ...options,
  });
  await tunnel.close();
}

async function refusal(server: Target, options: Partial<ConnectOptions>): Promise<SessionError> {
  const error = await login(server, options).then(() => undefined, (error) => error);
  assert.ok(error instanceof SessionError, String(error));
  return error;
}

/** Answers from lists, and remembers what it was asked; declines when a list is at its end. */
class Person implements Prompter {
  readonly asked: unknown[] = [];
  readonly #secrets: string[];
  readonly #answers: string[][];

  constructor(more: { secrets?: string[]; answers?: string[][] }) {
    this.#secrets = more.secrets ?? [];
    this.#answers = more.answers ?? [];
  }

  secret(prompt: string): Promise<string | undefined> {
    this.asked.push(prompt);
    return Promise.resolve(this.#secrets.shift());
  }

  questions(
    name: string,
    instruction: string,
    questions: readonly Question[],
  ): Promise<string[] | undefined> {
    this.asked.push({ name, instruction, questions });
    return Promise.resolve(this.#answers.shift());
  }

  confirmHostKey(): Promise<boolean> {
    throw new Error("not expected");
  }
}

const PASSWORD = "correct horse";

test("a password logs in, and nobody is asked for it", withPassword, async () => {
  await using server = await startSshd({ password: PASSWORD });
  const person = new Person({});
  await login(server, { password: PASSWORD, prompter: person });
  assert.deepEqual(person.asked, []);
});

test(
  "a password is asked for, by user and host, and again when it was wrong",
  withPassword,
  async () => {
    await using server = await startSshd({ password: PASSWORD });
    const again = "permission denied, please try again";
    await warned(async (warnings) => {
      const person = new Person({ secrets: ["wrong", "wrong again", PASSWORD] });
      await login(server, { prompter: person });
      const prompt = `${server.user}@${server.host}'s password: `;
      assert.deepEqual(person.asked, [prompt, prompt, prompt]);
      assert.deepEqual(warnings, [again, again]);
    });
    await warned(async (warnings) => {
      await login(server, { password: "wrong", prompter: new Person({ secrets: [PASSWORD] }) });
      assert.deepEqual(warnings, [again]);
      // Nobody tries again here: there are no more tries, or there is nobody.
      await refusal(server, { prompter: new Person({ secrets: ["wrong"] }), passwordPrompts: 1 });
      await refusal(server, { password: "wrong" });
      assert.deepEqual(warnings, [again]);
    });
  },
);

test(
  "a wrong password names user and host and what was offered, and not itself",
  withPassword,
  async () => {
    await using server = await startSshd({ password: PASSWORD });
    const who = `${server.user}@${server.host}: permission denied (publickey,password)`;
    const given = await refusal(server, { password: "my secret" });
    assert.equal(given.code, "auth-failed");
    assert.equal(given.message, `${who}; offered: password`);
    assert.ok(given.hint);
    assert.ok(!`${given.stack}${JSON.stringify(given)}${given.cause}`.includes("my secret"));

    const both = await refusal(server, { password: "x", privateKeys: [await strangersKey()] });
    assert.equal(both.message, `${who}; offered: private key 1, password`);
    const nothing = await refusal(server, {});
    assert.equal(nothing.message, `${who}; nothing was offered`);

    const thrice = new Person({ secrets: ["wrong", "wrong", "wrong"] });
    assert.equal(
      (await refusal(server, { prompter: thrice })).message,
      `${who}; offered: password`,
    );
    const once = new Person({ secrets: ["wrong", PASSWORD] });
    await refusal(server, { prompter: once, passwordPrompts: 1 });
    assert.equal(once.asked.length, 1);
    const declines = new Person({});
    await refusal(server, { prompter: declines });
    assert.equal(declines.asked.length, 1);
  },
);

async function strangersKey(): Promise<string> {
  await using folder = await tempDir();
  return await readFile((await makeKey(folder.path)).path, "utf8");
}

test("methods are tried in the order that was asked for, and no others", withPassword, async () => {
  await using server = await startSshd({ password: PASSWORD });
  const identityFiles = [server.identity];
  const person = new Person({ secrets: [PASSWORD] });
  await login(server, { identityFiles, prompter: person, authMethods: ["password", "publickey"] });
  assert.equal(person.asked.length, 1);
  const { message } = await refusal(server, { identityFiles, authMethods: ["password"] });
  assert.match(message, /; nothing was offered$/);
});

test("a server that wants a key and then a password gets both", withPassword, async () => {
  await using server = await startSshd({
    password: PASSWORD,
    config: ["AuthenticationMethods publickey,password"],
  });
  const identityFiles = [server.identity];
  await login(server, { identityFiles, password: PASSWORD });
  const person = new Person({ secrets: ["wrong", PASSWORD] });
  await login(server, { identityFiles, prompter: person });
  assert.equal(person.asked.length, 2);

  // The key alone, or another, is not enough, and a password is not even asked for before it.
  const alone = await refusal(server, { identityFiles });
  assert.equal(alone.code, "auth-failed");
  assert.match(alone.message, /permission denied \(password\); offered: .*id_accepted$/);
  const early = new Person({ secrets: [PASSWORD] });
  await refusal(server, { privateKeys: [await strangersKey()], prompter: early });
  assert.deepEqual(early.asked, []);
});

test("a server that wants a password first and then a key gets both", withPassword, async () => {
  await using server = await startSshd({
    password: PASSWORD,
    config: ["AuthenticationMethods password,publickey"],
  });
  await login(server, { identityFiles: [server.identity], password: PASSWORD });
  assert.equal((await refusal(server, { password: PASSWORD })).code, "auth-failed");
});

test("a server that wants two keys gets two", sshd, async () => {
  await using server = await startSshd({
    config: ["AuthenticationMethods publickey,publickey"],
  });
  const second = await makeKey(server.dir);
  await server.authorize(second.publicLine);
  await login(server, { identityFiles: [server.identity, second.path] });
  assert.equal((await refusal(server, { identityFiles: [server.identity] })).code, "auth-failed");
});

test("too many keys get a hint that says how to offer fewer", sshd, async () => {
  await using server = await startSshd({ config: ["MaxAuthTries 3"] });
  const strangers = await Promise.all([1, 2, 3, 4].map(() => makeKey(server.dir)));
  const identityFiles = [...strangers.map(({ path }) => path), server.identity];
  const error = await refusal(server, { identityFiles });
  assert.equal(error.code, "auth-failed");
  assert.match(error.message, /too many authentication failures/i);
  assert.match(error.hint ?? "", /too many keys were offered; .*IdentitiesOnly=yes/);
  await login(server, { identityFiles: identityFiles.slice(-2) });
});

test("deadlines wait while a person is asked", withPassword, async () => {
  await using server = await startSshd({ password: PASSWORD });
  const slow = new Person({ secrets: [PASSWORD] });
  const secret = slow.secret.bind(slow);
  slow.secret = async (prompt) => {
    await sleep(1_200);
    return await secret(prompt);
  };
  await login(server, { prompter: slow, connectTimeout: 800 });
});

test("a person who interrupts ends the attempt with their reason", withPassword, async () => {
  await using server = await startSshd({ password: PASSWORD });
  const interrupted = new Error("interrupted");
  const person = new Person({});
  person.secret = () => Promise.reject(interrupted);
  await assert.rejects(login(server, { prompter: person }), interrupted);
});

test("a person who interrupts a server's questions ends the attempt as well", keygen, async () => {
  await using server = await asking(async (ask) => {
    await ask([{ prompt: "Code: ", echo: true }]);
    return false;
  });
  const interrupted = new Error("interrupted");
  const person = new Person({});
  person.questions = () => Promise.reject(interrupted);
  await assert.rejects(login(server, { prompter: person, connectTimeout: 5_000 }), interrupted);
});

type Ask = (
  prompts: { prompt: string; echo: boolean }[],
  title?: string,
  instructions?: string,
) => Promise<string[]>;

/** A server that lets in whoever passes its keyboard-interactive questions. */
async function asking(
  passes: (ask: Ask) => Promise<boolean>,
  methods: ssh2.AuthenticationType[] = ["keyboard-interactive"],
): Promise<Target & { attempts: string[] } & Stoppable> {
  const folder = await tempDir();
  const key = await makeKey(folder.path);
  const attempts: string[] = [];
  const server = new ssh2.Server({ hostKeys: [await readFile(key.path)] }, (connection) => {
    connection.on("error", () => {});
    connection.on("authentication", (context) => {
      attempts.push(context.method);
      if (context.method !== "keyboard-interactive") return context.reject(methods);
      const ask: Ask = (prompts, title = "", instructions = "") =>
        new Promise((resolve) => context.prompt(prompts, title, instructions, resolve));
      passes(ask).then((passed) => passed ? context.accept() : context.reject(methods));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable(
    { host: "127.0.0.1", port, user: "mary", hostKeys: [key], attempts },
    async () => {
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await folder.stop();
    },
  );
}

test(
  "keyboard-interactive questions reach a person with their echo flags, round by round",
  keygen,
  async () => {
    await using server = await asking(async (ask) => {
      const [user, pin] = await ask(
        [{ prompt: "Token name: ", echo: true }, { prompt: "PIN: ", echo: false }],
        "Second factor",
        "Have your token ready.",
      );
      const [code] = await ask([{ prompt: "Code: ", echo: true }]);
      return user === "blue" && pin === "1234" && code === "987654";
    });
    const person = new Person({ answers: [["blue", "1234"], ["987654"]] });
    await login(server, { prompter: person });
    assert.deepEqual(person.asked, [
      {
        name: "Second factor",
        instruction: "Have your token ready.",
        questions: [
          { prompt: "(mary@127.0.0.1) Token name: ", echo: true },
          { prompt: "(mary@127.0.0.1) PIN: ", echo: false },
        ],
      },
      {
        name: "",
        instruction: "",
        questions: [{ prompt: "(mary@127.0.0.1) Code: ", echo: true }],
      },
    ]);
  },
);

test(
  "wrong answers are asked for again, three times in all, and a person may decline",
  keygen,
  async () => {
    await using server = await asking(async (ask) => {
      return (await ask([{ prompt: "Code: ", echo: false }]))[0] === "right";
    });
    await warned(async (warnings) => {
      const person = new Person({ answers: [["wrong"], ["wrong"], ["right"]] });
      await login(server, { prompter: person });
      assert.equal(person.asked.length, 3);
      assert.deepEqual(warnings, Array(2).fill("permission denied, please try again"));
    });

    const never = new Person({ answers: Array.from({ length: 9 }, () => ["wrong"]) });
    const error = await refusal(server, { prompter: never });
    assert.equal(never.asked.length, 3);
    assert.equal(error.code, "auth-failed");
    assert.equal(
      error.message,
      "mary@127.0.0.1: permission denied (keyboard-interactive); offered: " +
        "keyboard-interactive",
    );
    assert.equal(error.hint, "check the user name and the password");

    const declines = new Person({});
    await refusal(server, { prompter: declines });
    assert.equal(declines.asked.length, 1);
  },
);

test("a given password answers a server that asks for it interactively, once", keygen, async () => {
  await using server = await asking(async (ask) => {
    return (await ask([{ prompt: "Password: ", echo: false }]))[0] === PASSWORD;
  });
  await login(server, { password: PASSWORD });
  const wrong = await refusal(server, { password: "wrong" });
  assert.match(wrong.message, /; offered: keyboard-interactive$/);
  // It is not given to a question that is about something else, or that shows the answer.
  const person = new Person({ answers: [[PASSWORD]] });
  await login(server, { password: "wrong", prompter: person });
  assert.equal(person.asked.length, 1);
});

test("a given password is no answer to other questions", keygen, async () => {
  const seen: string[][] = [];
  for (
    const prompts of [
      [{ prompt: "Password: ", echo: true }],
      [{ prompt: "Code: ", echo: false }],
      [{ prompt: "One-time password (OATH) for `mary': ", echo: false }],
      [{ prompt: "Password: ", echo: false }, { prompt: "Code: ", echo: false }],
    ]
  ) {
    await using server = await asking(async (ask) => {
      seen.push(await ask(prompts));
      return false;
    });
    await refusal(server, { password: PASSWORD });
  }
  assert.ok(seen.length >= 4);
  assert.ok(!seen.flat().includes(PASSWORD));
});

test(
  "a server that asks no question, as PAM may, lets in without asking a person",
  keygen,
  async () => {
    await using server = await asking(async (ask) => (await ask([])).length === 0);
    await login(server, { password: PASSWORD });
  },
);

test(
  "where nobody can be asked the hint says so, and what can answer instead",
  keygen,
  async () => {
    const nobody = "nobody could be asked for a password: --password env:NAME (in the library, " +
      "password) or a program in SSH_ASKPASS can give it";
    for (const method of ["password", "keyboard-interactive"] as const) {
      await using server = await asking(async (ask) => {
        await ask([{ prompt: "Code: ", echo: false }]);
        return false;
      }, [method]);
      const nothing = await refusal(server, {});
      assert.equal(
        nothing.message,
        `mary@127.0.0.1: permission denied (${method}); nothing was offered`,
      );
      assert.equal(nothing.hint, nobody);
      // Somebody was there, and somebody's password was wrong: another hint.
      const declined = await refusal(server, { prompter: new Person({}) });
      assert.equal(declined.hint, "check the user name and the password");
      const wrong = await refusal(server, { password: "wrong" });
      assert.equal(
        wrong.hint,
        method === "password"
          ? "check the user name and the password"
          : "nobody could be asked what the server asked: use a terminal, or a program in SSH_ASKPASS",
      );
    }
    await using both = await asking(() => Promise.resolve(false), ["publickey", "password"]);
    assert.match(
      (await refusal(both, {})).hint ?? "",
      /^name the right .* on the server; nobody could/,
    );
    const { hint } = await refusal(both, { authMethods: ["publickey"] });
    assert.match(hint ?? "", /on the server$/);
  },
);

test("without a key, a password or a person nothing is offered", keygen, async () => {
  await using server = await asking(
    () => Promise.resolve(false),
    ["publickey", "keyboard-interactive", "password"],
  );
  const { message } = await refusal(server, {});
  assert.match(message, /\(publickey,keyboard-interactive,password\); nothing was offered$/);
  assert.deepEqual(server.attempts, ["none"]);
});

/** A raw ssh2 server that does this with each attempt but the first. */
async function answering(
  answer: (context: ssh2.AuthContext, protocol: ServerProtocol) => void,
  methods: ssh2.AuthenticationType[],
  before: (protocol: ServerProtocol) => void = () => {},
): Promise<Target & Stoppable> {
  const folder = await tempDir();
  const key = await makeKey(folder.path);
  const server = new ssh2.Server({ hostKeys: [await readFile(key.path)] }, (connection) => {
    connection.on("error", () => {});
    connection.on("authentication", (context) => {
      const { _protocol } = connection as unknown as { _protocol: ServerProtocol };
      if (context.method !== "none") return answer(context, _protocol);
      before(_protocol);
      context.reject(methods);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable({ host: "127.0.0.1", port, user: "mary", hostKeys: [key] }, async () => {
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await folder.stop();
  });
}

interface ServerProtocol extends EngineProtocol {
  authPKOK(algorithm: string, blob: Buffer): void;
}

test("a server that wants a new password is answered with what to do", keygen, async () => {
  await using server = await answering((context) => {
    if (context.method === "password") context.requestChange("Your password has expired", () => {});
  }, ["password"]);
  const error = await refusal(server, { password: PASSWORD });
  assert.equal(error.code, "auth-failed");
  assert.equal(error.message, "the server wants the password to be changed");
  assert.match(error.hint ?? "", /log in with ssh and change it/);
});

test("a server that accepts a key which was not offered gets no signature", keygen, async () => {
  let signed = 0;
  await using server = await answering((context, protocol) => {
    if (context.method !== "publickey") return context.reject();
    if (context.signature !== undefined) signed++;
    protocol.authPKOK(context.key.algo, Buffer.from("another key"));
  }, ["publickey"]);
  const error = await refusal(server, { privateKeys: [await strangersKey()] });
  assert.equal(error.code, "protocol-error");
  assert.equal(signed, 0);
});

test("a server that asks for ever is left after a hundred rounds", keygen, async () => {
  let rounds = 0;
  await using server = await asking(async (ask) => {
    for (;;) {
      rounds++;
      await ask([{ prompt: "Again: ", echo: true }]);
    }
  });
  const person = new Person({ answers: Array.from({ length: 200 }, () => ["x"]) });
  const error = await refusal(server, { prompter: person });
  assert.equal(error.code, "protocol-error");
  assert.equal(person.asked.length, 100);
  assert.ok(rounds <= 101);
});

test("what a server calls its methods is shown without what moves a cursor", keygen, async () => {
  const methods = ["publickey", "\x1b[2Jhostbased\n", ..."m".repeat(9_000).match(/.{9}/g) ?? []];
  await using server = await answering(() => {}, methods as ssh2.AuthenticationType[]);
  const { message } = await refusal(server, {});
  assert.match(message, /^mary@127\.0\.0\.1: permission denied \(publickey, \[2Jhostbased ,m/);
  assert.ok(message.length < 600, `${message.length} characters`);
});

test("a given password is not sent again once the server has taken it", withPassword, async () => {
  const seen: string[][] = [];
  await using server = await answering((context) => {
    // The first of two steps is done (RFC 4252 section 5.1).
    if (context.method === "password") return context.reject(["keyboard-interactive"], true);
    if (context.method !== "keyboard-interactive") return context.reject();
    context.prompt([{ prompt: "Password of the other system: ", echo: false }], (answers) => {
      seen.push(answers);
      context.reject();
    });
  }, ["password"]);
  await refusal(server, { password: PASSWORD, authMethods: ["password", "keyboard-interactive"] });
  assert.deepEqual(seen, [[]]);
});

test(
  "a server that knows RSA only with SHA-1 gets no key, and the user hears why",
  keygen,
  async () => {
    let asked = 0;
    const extension = Buffer.concat([
      Buffer.from([7, 0, 0, 0, 1]),
      ...["server-sig-algs", "ssh-ed25519,ssh-rsa"].map(sshString),
    ]);
    await using server = await answering(
      (context) => {
        asked++;
        context.reject();
        // The list that counts is the last one before a request, as RFC 8308 section 2.4 allows.
      },
      ["publickey"],
      (protocol) => sendPayload(protocol, extension),
    );
    await using folder = await tempDir();
    const { path } = await makeKey(folder.path, { type: "rsa" });
    await warned(async (warnings) => {
      await refusal(server, { identityFiles: [path] });
      assert.deepEqual(warnings, [
        `identity ${path} is not offered: the server takes RSA keys only with signatures that are ` +
        "off here; -o PubkeyAcceptedAlgorithms=+ssh-rsa would allow SHA-1",
      ]);
      assert.equal(asked, 0);
      await refusal(server, { identityFiles: [path], pubkeyAcceptedAlgorithms: "ssh-ed25519" });
      await refusal(server, { identityFiles: [path], pubkeyAcceptedAlgorithms: "+ssh-rsa" });
      assert.equal(asked, 1);
      assert.equal(warnings.length, 1);
    });
  },
);
