/**
 * What may stand in a fairlead.yaml: for the check, and as a JSON Schema for editors.
 *
 * @module
 */
// Not by its name z: all of it, with all its languages, would be in the bundle.
import * as z from "zod";
import { messageOf } from "../errors.ts";
import { parseJump } from "../ssh_config/jump_spec.ts";
import { isNone, wholeNumber } from "../ssh_config/values.ts";
import { MOST_CONNECTIONS } from "../session/options.ts";
import { hasPassword } from "./shown_value.ts";
import { duration, size, truth } from "./values.ts";

/** More than anybody needs; each tunnel is a connection, each forward a listener. */
export const MOST_TUNNELS = 200;
/** Forwards of one tunnel. */
export const MOST_FORWARDS = 1_000;

/** Letters of a value; the longest are public keys. */
const MOST_LETTERS = 10_000;
const TOO_LONG = `expected ${MOST_LETTERS} letters at most`;

/** A tunnel's or a group's name. */
export const NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

const port = wholeNumber(1, 65_535);
const count = wholeNumber(0, 1_000_000_000);

/** A number, or a text that says one. */
function word(description: string, read: (word: string) => unknown) {
  const texts = z.string().max(100, "expected 100 letters at most");
  const schema = z.union([texts, z.number()], { error: () => wantedBy(read) });
  return checked(schema, read).meta({ description });
}

/** A truth value, or a text that says one. */
function yesNo(description: string) {
  const schema = z.union([z.boolean(), z.string()], { error: () => wantedBy(truth) });
  return checked(schema, truth).meta({ description });
}

/** A text alone. */
function text(description: string, wanted: string, read: (word: string) => unknown = () => {}) {
  const schema = z.string({ error: () => `expected ${wanted}` }).min(1, `expected ${wanted}`)
    .max(MOST_LETTERS, TOO_LONG);
  return checked(schema, read).meta({ description });
}

/** One of several words. */
function choice<const T extends readonly [string, ...string[]]>(description: string, words: T) {
  return z.enum(words, { error: () => `expected one of ${words.join(", ")}` })
    .meta({ description });
}

/** One text, or a list of them. */
function texts(description: string, wanted: string, read: (word: string) => unknown = () => {}) {
  const one = text(description, wanted, read);
  return z.union([one, z.array(one).max(100, "expected 100 at most")], {
    error: () => `expected ${wanted}, or a list of them`,
  }).meta({ description });
}

function checked<T extends z.ZodType>(schema: T, read: (word: string) => unknown): T {
  return schema.superRefine((value, context) => {
    try {
      read(String(value));
    } catch (error) {
      context.addIssue({ code: "custom", message: messageOf(error) });
    }
  }) as T;
}

/** What a reader says of something that cannot be right. */
function wantedBy(read: (word: string) => unknown): string {
  try {
    read("?");
    return "expected a value";
  } catch (error) {
    return messageOf(error);
  }
}

const listen = (what: string) =>
  `${what}: a port, bind:port, a Unix socket's path, or the whole ` +
  "forward as ssh writes it";

/** One forward. Which keys go together is looked at elsewhere. */
export const forwardSchema = z.strictObject({
  name: text("a name for it, for status and for FAIRLEAD_…_PORT", "a name", (name) => {
    if (!/^[A-Za-z][A-Za-z0-9_-]{0,62}$/.test(name)) {
      throw new SyntaxError("expected a letter, then letters, digits, - and _");
    }
  }).optional(),
  local: anyEnd(listen("-L of ssh, where to listen here")).optional(),
  remote: anyEnd(listen("-R of ssh, where the server listens")).optional(),
  dynamic: anyEnd("-D of ssh, where to listen here for SOCKS clients: a port or bind:port")
    .optional(),
  to: anyEnd("where to: host:port, or a Unix socket's path").optional(),
}, { error: () => "expected one of local, remote and dynamic, such as local: 1100:mail:110" })
  .meta({ description: "one forward" });

function anyEnd(description: string) {
  return z.union([z.string().max(MOST_LETTERS, TOO_LONG), z.number()], {
    error: () => "expected a port, or a text such as 8080:web.internal:80",
  }).meta({ description });
}

/** What `defaults` and each tunnel can say. */
const common = {
  user: text("the user's name on the server", "a user name").optional(),
  port: word("the server's port (22)", port).optional(),
  jump: texts(
    "servers to go through: [user@]host[:port]; or another tunnel of this file",
    "[user@]host[:port]",
    (text) => isNone(text) || (withoutPassword(text), parseJump(text)),
  ).optional(),
  identity: texts("private keys: files, or env:NAME", "a file or env:NAME", (text) => {
    variableName(text);
    if (/^-----BEGIN |[\r\n]/.test(text)) {
      throw new SyntaxError("expected a file or env:NAME: a file is no place for a secret");
    }
  }).optional(),
  certificate: texts("certificates for them", "a file").optional(),
  knownHosts: texts("files with the server's host key, in place of the user's", "a file")
    .optional(),
  hostKey: texts(
    "the server's host key: SHA256:…, a public key, or env:NAME",
    "a host key",
    variableName,
  ).optional(),
  hostKeyPolicy: choice("what becomes of a host key that is not known", [
    "strict",
    "ask",
    "accept-new",
    "off",
  ]).optional(),
  keepalive: word("silence after which the server is asked for a sign of life (15s)", (text) => {
    return text === "off" || duration(text);
  }).optional(),
  keepaliveCount: word("such questions in a row until the link counts as dead (3)", count)
    .optional(),
  connectTimeout: word("for each step of connecting (30s)", duration).optional(),
  wait: yesNo("try again where the first connection fails, too").optional(),
  retry: word("give a lost link up after so many tries; never by default", count).optional(),
  retryFor: word("give a lost link up after so long", duration).optional(),
  park: word("how long a caller waits for a lost link (30s); 0: not", duration).optional(),
  idleTimeout: word("end after so long without any connection", duration).optional(),
  connections: word("spread over 1 to 16 SSH connections (1), or auto", (text) => {
    if (text === "auto") return text;
    try {
      return wholeNumber(1, MOST_CONNECTIONS)(text);
    } catch (error) {
      throw new SyntaxError(`${messageOf(error)}, or auto`);
    }
  }).optional(),
  windowBudget: word("bytes that servers may send ahead of readers (64M)", size).optional(),
  proxy: text(
    "the proxy to connect through: socks5://host:port, http://host:port, env, or env:NAME",
    "a proxy's URL, env, or env:NAME",
    variableName,
  ).optional(),
  password: secret("the variable that holds the password: env:NAME").optional(),
  passphrase: secret("the variable that holds the passphrase of encrypted keys: env:NAME")
    .optional(),
  agent: text("the agent's socket, or none", "a path, or none").optional(),
  identitiesOnly: yesNo("offer only the keys named here").optional(),
  batchMode: yesNo("ask nobody for anything").optional(),
  sshConfig: text("the ssh_config to read in place of the usual ones, or none", "a file, or none")
    .optional(),
  options: z.record(
    z.string(),
    z.union([z.string().max(MOST_LETTERS, TOO_LONG), z.number(), z.boolean()], {
      error: () => "expected a value as ssh_config has it",
    }),
    { error: () => "expected keywords of ssh_config(5), each with its value" },
  )
    .meta({ description: "other keywords of ssh_config(5), each with its value" }).optional(),
};

/** Of `env:NAME` the name must be one. */
function variableName(text: string): void {
  if (!text.startsWith("env:") || /^env:[A-Za-z_]\w*$/.test(text)) return;
  throw new SyntaxError("expected the name of a variable after env:");
}

function withoutPassword(text: string): void {
  if (hasPassword(text)) throw new SyntaxError("a file is no place for a password");
}

function secret(description: string) {
  return text(description, "env:NAME", (text) => {
    if (/^env:[A-Za-z_]\w*$/.test(text)) return;
    throw new SyntaxError("expected env:NAME: a file is no place for a secret");
  });
}

function names(description: string) {
  return texts(description, "a name", (name) => {
    if (!NAME.test(name)) throw new SyntaxError("expected letters, digits, ., _ and -");
  });
}

/** One tunnel. */
export const tunnelSchema = z.strictObject({
  host: text(
    "[user@]host, an alias of ssh_config, or ssh://[user@]host[:port]",
    "[user@]host",
    withoutPassword,
  ),
  ...common,
  forwards: z.array(forwardSchema, {
    error: () => "expected a list, such as - local: 1100:mail.example.com:110",
  }).max(MOST_FORWARDS, `expected ${MOST_FORWARDS} at most`)
    .meta({ description: "what it forwards" }).optional(),
  groups: names("names by which several tunnels are brought up together").optional(),
  dependsOn: names("tunnels of this file that must be up before it").optional(),
}, { error: () => "expected a tunnel: host, forwards, …" }).meta({ description: "one tunnel" });

/** What is said for every tunnel that does not say otherwise. */
export const defaultsSchema = z.strictObject(common, {
  error: () => "expected keys of tunnels, such as keepalive: 15s",
}).meta({ description: "what holds for every tunnel that does not say otherwise" });

/** The whole file. */
export const fileSchema = z.strictObject({
  version: z.literal(1, { error: () => "expected 1, the version that this fairlead reads" })
    .meta({ description: "the version of this form: 1" }),
  defaults: defaultsSchema.optional(),
  tunnels: z.record(
    z.string().regex(NAME, "expected letters, digits, ., _ and - in a tunnel's name, 63 at most"),
    tunnelSchema,
    { error: () => "expected tunnels, each with its name" },
  ).meta({ description: "the tunnels, each with its name" }),
}, { error: () => "expected version: 1 and tunnels" })
  .meta({ title: "fairlead.yaml", description: "SSH tunnels that fairlead brings up" });

/** A tunnel as the file has it. */
export type TunnelInput = z.infer<typeof tunnelSchema>;
/** A forward as the file has it. */
export type ForwardInput = z.infer<typeof forwardSchema>;

/**
 * The JSON Schema of fairlead.yaml.
 *
 * @returns The schema, of draft 2020-12.
 */
export function jsonSchema(): object {
  return z.toJSONSchema(fileSchema, { unrepresentable: "any" });
}
