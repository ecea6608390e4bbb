// @ts-check
/**
 * What a step of a workflow asks for.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { Failure, input, runnerVariable } from "./runner.mjs";

/**
 * @typedef {object} Installation What to install, and from where.
 * @property {string} version Its version.
 * @property {string} asset The name of the file.
 * @property {string} baseUrl The folder that it lies in, without a slash at the end.
 * @property {string} sha256 What its SHA-256 must be besides what the release says; or "".
 *
 * @typedef {object} TunnelRequest What to open.
 * @property {string} host The destination.
 * @property {string[]} args Options and forwards, as fairlead takes them.
 * @property {Record<string, string>} secrets Variables that they name.
 * @property {string} knownHosts Lines of a known_hosts file; or "".
 * @property {"bind" | "dial"} ready When it is usable.
 * @property {number} timeout Seconds that it may take until then.
 *
 * @typedef {object} Inputs
 * @property {Installation} installation
 * @property {TunnelRequest | undefined} tunnel None where fairlead is only to be installed.
 */

const RELEASES = "https://github.com/fairlead/fairlead/releases/download";

/** The inputs that ask for a tunnel; where all are empty, none is opened. */
const OF_A_TUNNEL = [
  ...["host", "forwards", "private-key", "passphrase", "password"],
  ...["host-key", "known-hosts", "options"],
];

/** How fairlead finds each secret. */
const SECRETS = [
  { name: "private-key", option: "-i", variable: "FAIRLEAD_ACTION_PRIVATE_KEY" },
  { name: "passphrase", option: "--passphrase", variable: "FAIRLEAD_ACTION_PASSPHRASE" },
  { name: "password", option: "--password", variable: "FAIRLEAD_ACTION_PASSWORD" },
  { name: "host-key", option: "--host-key", variable: "FAIRLEAD_ACTION_HOST_KEY" },
];

/**
 * Reads the inputs.
 *
 * @returns {Inputs} What they ask for.
 * @throws {Failure} When one is missing or malformed; its value is not repeated.
 */
export function readInputs() {
  const wanted = OF_A_TUNNEL.some((name) => given(name) !== "");
  return { installation: readInstallation(), tunnel: wanted ? readTunnel() : undefined };
}

/**
 * The inputs that the log must not show.
 *
 * @returns {string[]} Their values.
 */
export function secretInputs() {
  return ["private-key", "passphrase", "password"].map((name) => input(name));
}

/** @returns {Installation} */
function readInstallation() {
  const version = given("version").replace(/^v/, "") || ownVersion();
  if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version)) {
    throw new Failure("version: expected a release, as in 0.1.0");
  }
  const baseUrl = given("base-url").replace(/\/+$/, "") || `${RELEASES}/v${version}`;
  if (!/^https?:\/\/[^/]/.test(baseUrl)) {
    throw new Failure("base-url: expected https:// and the folder that the release's files are in");
  }
  const sha256 = given("sha256").toLowerCase();
  if (!/^(?:[0-9a-f]{64})?$/.test(sha256)) {
    throw new Failure("sha256: expected 64 hexadecimal digits");
  }
  const program = oneOf("program", ["bundle", "binary"]);
  return { version, baseUrl, sha256, asset: program === "bundle" ? "fairlead.mjs" : binary() };
}

/** @returns {TunnelRequest} */
function readTunnel() {
  const host = required("host", "the SSH server, as in deploy@bastion.example.com");
  if (/^-|\s/.test(host)) throw new Failure("host: expected [user@]host or ssh://[user@]host:port");
  required("forwards", "what to forward, one a line, as in -L db=0:db.internal:5432");
  const forwards = optionLines("forwards", /^-[LRD]/, "-L, -R or -D and what to forward");
  const options = optionLines("options", /^-(?!-$)/, "an option of fairlead");
  const knownHosts = given("known-hosts");
  if (given("host-key") === "" && knownHosts === "") {
    throw new Failure(
      "host-key: missing; it is the server's public host key, or its fingerprint as SHA256:…, from " +
        "a secret or a variable of the repository (or give known-hosts)",
    );
  }
  if (!canLogIn(options)) {
    throw new Failure(
      "private-key: missing; give it from a secret (or password, or start an agent)",
    );
  }
  const timeout = Number(given("timeout") || "60");
  if (!Number.isInteger(timeout) || timeout < 1 || timeout > 3600) {
    throw new Failure("timeout: expected seconds, 1 to 3600");
  }
  const secrets = SECRETS.filter(({ name }) => given(name) !== "");
  return {
    host,
    args: [
      ...forwards,
      ...secrets.flatMap((one) => [one.option, `env:${one.variable}`]),
      ...options,
    ],
    // What was piped into `gh secret set` may end in a newline that is no part of a password.
    secrets: Object.fromEntries(
      secrets.map(({ name, variable }) => [variable, input(name).replace(/\r?\n$/, "")]),
    ),
    knownHosts,
    ready: oneOf("ready", ["bind", "dial"]),
    timeout,
  };
}

/** @param {readonly string[]} options */
function canLogIn(options) {
  const variable = process.env["SSH_AUTH_SOCK"] ?? "";
  return given("private-key") !== "" || given("password") !== "" || variable !== "" ||
    options.some((word) => /^-i|IdentityAgent/.test(word));
}

/**
 * Options, one a line: what follows the first blank is the value, to the end of the line.
 *
 * @param {string} name The input.
 * @param {RegExp} form How each begins.
 * @param {string} expected The same in words.
 * @returns {string[]} The words of a command line.
 */
function optionLines(name, form, expected) {
  return input(name).split(/\r?\n/).flatMap((text, index) => {
    const line = text.trim();
    if (line === "" || line.startsWith("#")) return [];
    if (!form.test(line)) throw new Failure(`${name}, line ${index + 1}: expected ${expected}`);
    const [, option = "", value] = /^(\S+)(?:\s+(.*))?$/.exec(line) ?? [];
    return value === undefined ? [option] : [option, value];
  });
}

/** The version that this action belongs to. */
function ownVersion() {
  const manifest = readFileSync(new URL("../../deno.json", import.meta.url), "utf8");
  return /** @type {string} */ (JSON.parse(manifest).version);
}

/** The name of the binary for this runner. */
function binary() {
  const [system, arch] = [runnerVariable("RUNNER_OS"), runnerVariable("RUNNER_ARCH")];
  const [os, cpu] = [system.toLowerCase(), arch.toLowerCase()];
  if (!["linux", "macos", "windows"].includes(os) || !["x64", "arm64"].includes(cpu)) {
    throw new Failure(`program: there is no binary for ${system} ${arch}; bundle runs there`);
  }
  return `fairlead-${os}-${cpu}${os === "windows" ? ".exe" : ""}`;
}

/**
 * @template {string} Word
 * @param {string} name
 * @param {readonly [Word, ...Word[]]} words The first is the default.
 * @returns {Word}
 */
function oneOf(name, words) {
  const value = given(name) || words[0];
  const word = words.find((one) => one === value);
  if (word === undefined) throw new Failure(`${name}: expected ${words.join(" or ")}`);
  return word;
}

/**
 * @param {string} name
 * @param {string} what What belongs there.
 */
function required(name, what) {
  const value = given(name);
  if (value === "") throw new Failure(`${name}: missing; it is ${what}`);
  return value;
}

/** @param {string} name */
function given(name) {
  return input(name).trim();
}
