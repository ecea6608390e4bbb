/**
 * What may be asked with: whoever speaks the protocol need not be a fairlead, or not this one. What
 * a later version says besides is passed over.
 *
 * @module
 */
import * as z from "zod";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import { UsageError } from "../errors.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import type { MasterMethods } from "./master.ts";
import type { TunnelMethods } from "./protocol.ts";

type Methods = TunnelMethods & Pick<MasterMethods, "forward" | "cancel">;

/** Has the compiler say when a schema refuses what a type allows. */
const of = <T>() => <S extends z.ZodType>(schema: T extends z.input<S> ? S : never): S => schema;

const texts = z.array(z.string()).readonly();
const count = z.number().min(0);
const PORT = "expected a port";
const port = z.int(PORT).min(0, PORT).max(65_535, PORT);
const name = z.string().optional();
const path = z.object({ path: z.string() });
const listen = z.union([path, z.object({ bind: z.string().optional(), port })], {
  error: "expected a port from 0 to 65535, or a path",
});
const destination = z.union([path, z.object({ host: z.string(), port: port.min(1, PORT) })], {
  error: "expected a host and a port from 1 to 65535, or a path",
});

const forward = of<ForwardRequest>()(z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("local"), spec: z.object({ name, listen, destination }) }),
  z.object({
    kind: z.literal("remote"),
    spec: z.object({ name, listen, destination: destination.optional() }),
  }),
  z.object({ kind: z.literal("dynamic"), spec: z.object({ name, listen }) }),
], { error: "expected a forward of the kind local, remote or dynamic" }));

const tunnel = of<TunnelConfig>()(z.object({
  ...{ name: z.string().min(1), file: z.string(), where: z.string(), host: z.string().min(1) },
  keywords: z.array(z.object({ keyword: z.string(), words: texts, where: z.string() })).readonly(),
  configFile: z.string().optional(),
  session: z.object({
    wait: z.boolean().optional(),
    ...{ retries: count.optional(), retryFor: count.optional(), park: count.optional() },
    idleTimeout: count.optional(),
    connections: z.union([z.int().min(1).max(16), z.literal("auto")]).optional(),
    windowBudget: count.optional(),
    hostKeys: texts.optional(),
    proxy: z.string().optional(),
  }),
  via: z.string().optional(),
  forwards: z.array(forward).readonly(),
  ...{ groups: texts, dependsOn: texts },
  secrets: z.object({
    password: z.string().optional(),
    passphrase: z.string().optional(),
    identities: texts.optional(),
  }),
}));

const secrets = of<TunnelSecrets>()(z.object({
  password: z.string().optional(),
  passphrase: z.string().optional(),
  privateKeys: z.array(z.object({ name: z.string(), text: z.string() })).readonly().optional(),
  agent: z.string().optional(),
}));

const tunnels = { tunnels: z.array(tunnel).readonly(), secrets: z.record(z.string(), secrets) };
const force = z.boolean().optional();

const PARAMS = {
  status: of<Methods["status"]["params"]>()(z.object({})),
  up: of<Methods["up"]["params"]>()(z.object({ ...tunnels, metrics: z.string().optional() })),
  down: of<Methods["down"]["params"]>()(z.object({ names: texts.optional(), force })),
  reload: of<Methods["reload"]["params"]>()(z.object({ file: z.string(), ...tunnels })),
  restart: of<Methods["restart"]["params"]>()(z.object({ names: texts.optional() })),
  add: of<Methods["add"]["params"]>()(z.object({ tunnel: z.string(), forward })),
  remove: of<Methods["remove"]["params"]>()(
    z.object({ tunnel: z.string(), forward: z.string(), force }),
  ),
  forward: of<Methods["forward"]["params"]>()(z.object({ forward })),
  cancel: of<Methods["cancel"]["params"]>()(z.object({ forward })),
} satisfies { readonly [Method in keyof Methods]: z.ZodType };

/**
 * Has what came be what a method takes.
 *
 * @param method The method.
 * @param params What came.
 * @returns The same.
 * @throws {UsageError} Where it is something else; the message names the parameter, and shows no
 *   value.
 */
export function checkedParams<Method extends keyof Methods>(
  method: Method,
  params: unknown,
): Methods[Method]["params"] {
  const { error } = PARAMS[method].safeParse(params);
  const [issue] = error?.issues ?? [];
  if (issue === undefined) return params as Methods[Method]["params"];
  const where = issue.path.map((step) =>
    typeof step === "number" ? `[${step}]` : `.${String(step)}`
  );
  throw new UsageError(
    `a request to ${method}: ${where.join("").replace(/^\./, "") || "params"}: ${wanted(issue)}`,
    "the command and the background process may be of different versions",
  );
}

function wanted({ message }: { readonly message: string }): string {
  return message.replace(/^Invalid input: /, "").replace(/, received .*$/, "");
}
