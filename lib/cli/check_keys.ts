/**
 * Whether a tunnel has something to log in with: its keys, its agent, its secrets.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { fileReason, messageOf } from "../errors.ts";
import { agentSocket } from "../ssh/agent.ts";
import { type AgentKey, listAgentKeys } from "../ssh/agent_client.ts";
import { readCertificate, validityFault } from "../ssh/certificate.ts";
import { gatherIdentities, type NamedKey } from "../ssh/identities.ts";
import { fileIdentity, textIdentity } from "../ssh/keys.ts";
import { parsePrivateKey, readKeyHeader } from "../ssh/private_key.ts";
import { readPublicKeyFile } from "../ssh/public_key.ts";
import type { ConnectOptions } from "../tunnel/tunnel.ts";
import { type Finding, fine, wrong } from "./finding.ts";

const NAME_IT = "name the file that ends with -cert.pub";
/** Milliseconds for an agent to list its keys. */
const AGENT_TIMEOUT = 5_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** What an agent says. */
interface Agent {
  readonly path: string;
  readonly keys: readonly AgentKey[];
  /** Why it does not answer. */
  readonly failure?: string;
}

/**
 * Looks at all of it.
 *
 * @param config The tunnel.
 * @param options What it connects with.
 * @param environment The variables.
 * @param namesAgent Whether the agent was named, and is not merely the usual one.
 * @returns The findings.
 */
export async function checkKeys(
  config: TunnelConfig,
  options: ConnectOptions,
  environment: Environment,
  namesAgent: boolean,
): Promise<Finding[]> {
  const secrets = checkSecrets(config, environment);
  const agent = await askAgent(options);
  const files = await Promise.all(filesOf(options).map((path) => checkFile(path, options, agent)));
  const certificates = await Promise.all((options.certificateFiles ?? []).map(checkCertificate));
  const texts = (options.privateKeys ?? []).map((key) => checkText(key as NamedKey, options));
  const keys = [...files, ...texts];
  const usable = keys.some(({ ok }) => ok) || secrets.some(({ ok }) => ok);
  const findings = [...secrets, ...keys, ...certificates];
  if (agent !== undefined && (namesAgent || (agent.failure === undefined && keys.length === 0))) {
    findings.push(aboutAgent(agent));
  }
  if (keys.length === 0 && !usable) findings.push(await checkDefaults(options));
  return findings;
}

function checkSecrets({ secrets }: TunnelConfig, environment: Environment): Finding[] {
  const { password, passphrase, identities = [] } = secrets;
  const named = [
    ...(password === undefined ? [] : [["password", password]]),
    ...(passphrase === undefined ? [] : [["passphrase", passphrase]]),
    ...identities.map((name) => ["identity", name]),
  ];
  return named.flatMap(([key, name = ""]) => {
    const value = environment[name];
    if ((value ?? "") === "") {
      const state = value === undefined ? "not set" : "empty";
      return [wrong("key", `${key} env:${name}: the variable ${name} is ${state}`, `set ${name}`)];
    }
    // A key is looked at itself.
    return key === "identity" ? [] : [fine("key", `${key} env:${name} is set`)];
  });
}

async function askAgent({ agent }: ConnectOptions): Promise<Agent | undefined> {
  const socket = agentSocket(agent);
  if (socket === undefined) return undefined;
  const { path } = socket;
  try {
    return { path, keys: await listAgentKeys(path, { timeout: AGENT_TIMEOUT }) };
  } catch (error) {
    return { path, keys: [], failure: messageOf(error) };
  }
}

function aboutAgent({ path, keys, failure }: Agent): Finding {
  if (failure !== undefined) {
    return wrong(
      "key",
      `agent ${path} does not answer: ${failure}`,
      "start it, or leave agent out",
    );
  }
  const { length } = keys;
  return fine("key", `agent ${path} holds ${length === 1 ? "1 key" : `${length} keys`}`);
}

/** Of all servers on the way, each once. */
function filesOf(options: ConnectOptions): string[] {
  const files = new Set<string>();
  for (let hop: ConnectOptions | undefined = options; hop !== undefined; hop = hop.jump) {
    for (const file of hop.identityFiles ?? []) files.add(file);
  }
  return [...files];
}

async function checkFile(
  path: string,
  options: ConnectOptions,
  agent: Agent | undefined,
): Promise<Finding> {
  const key = `key ${path}`;
  const held = (blob: Buffer | undefined) =>
    blob !== undefined && agent?.keys.some((one) => one.blob.equals(blob)) === true;
  const add = `ssh-add ${path}`;
  try {
    const { needsAgent, publicBlob } = await fileIdentity(path);
    if (needsAgent !== undefined) {
      if (held(publicBlob)) return fine("key", `${key} ${needsAgent}, and the agent holds it`);
      return wrong(
        "key",
        `${key} ${needsAgent}, and no agent holds it`,
        `\`${add}\` adds it to one`,
      );
    }
    const text = await readFile(path, "utf8");
    if (!readKeyHeader(text).encrypted) return fine("key", `${key} can be used`);
    if (held(publicBlob)) return fine("key", `${key} is encrypted, and the agent holds it`);
    const { passphrase, prompter } = options;
    if (passphrase !== undefined && !(parsePrivateKey(text, passphrase) instanceof Error)) {
      return fine("key", `${key} is opened by the passphrase`);
    }
    if (prompter !== undefined) {
      return fine("key", `${key} is encrypted: you will be asked for its passphrase`);
    }
    return wrong(
      "key",
      passphrase === undefined
        ? `${key} is encrypted, and nobody can be asked for its passphrase`
        : `${key} is not opened by the passphrase`,
      `\`${add}\`, or passphrase: env:NAME`,
    );
  } catch (error) {
    return wrong("key", error, "name the right file as identity, or make a key with ssh-keygen");
  }
}

function checkText({ name, text }: NamedKey, options: ConnectOptions): Finding {
  try {
    textIdentity(name, text, options);
    return fine("key", `key ${name} can be used`);
  } catch (error) {
    return wrong("key", error, "the variable must hold a whole private key");
  }
}

async function checkCertificate(path: string): Promise<Finding> {
  const what = `certificate ${path}`;
  try {
    const blob = await readPublicKeyFile(path);
    const certificate = blob === undefined ? undefined : readCertificate(blob);
    if (certificate === undefined) return wrong("key", `${what} is no certificate`, NAME_IT);
    const fault = validityFault(certificate, Date.now());
    return fault === undefined
      ? fine("key", `${what} is valid`)
      : wrong("key", `${what} ${fault}`, "have a new one signed");
  } catch (error) {
    return wrong("key", `${what}: ${fileReason(error)}`, NAME_IT);
  }
}

/** Where nothing was named. */
async function checkDefaults(options: ConnectOptions): Promise<Finding> {
  const { agent = undefined, passphrase, prompter } = options;
  const found = await gatherIdentities({ agent, passphrase });
  if (found.length > 0) {
    const names = found.slice(0, 3).map(({ name }) => name).join(", ");
    return fine("key", `keys to offer: ${names}${found.length > 3 ? ", and others" : ""}`);
  }
  if (prompter !== undefined) {
    return fine("key", "there is no key: you will be asked for a password");
  }
  return wrong(
    "key",
    "there is nothing to log in with: no key in ~/.ssh, and none in an agent",
    "name a private key's file as identity, or add it to an agent with ssh-add",
  );
}
