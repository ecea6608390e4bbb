/**
 * Whether a server's host key may be used: by the known_hosts files and StrictHostKeyChecking, as
 * {@link https://man.openbsd.org/ssh_config.5#StrictHostKeyChecking | ssh_config(5)} has it.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { isLoopback } from "../dialer.ts";
import { fileReason, messageOf, SessionError, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";
import { type Certificate, readCertificate } from "./certificate.ts";
import {
  changed,
  declined,
  type HostNames,
  malformed,
  markedRevoked,
  unknown,
} from "./host_key_errors.ts";
import { authorityAlgorithms, CERTIFICATE_ALGORITHMS, faultOf } from "./host_certificate.ts";
import {
  algorithmsFor,
  entriesOf,
  fingerprint,
  formatEntry,
  keyTypeLabel,
  keyTypeOf,
  type KnownHostsEntry,
  lookup,
  type Verdict,
} from "./known_hosts.ts";
import { addKnownHost, readKnownHosts } from "./known_hosts_file.ts";
import type { Prompter } from "./prompter.ts";

/** What to do with a host key that no file holds: ssh_config(5), StrictHostKeyChecking. */
export type StrictHostKeyChecking = "yes" | "ask" | "accept-new" | "no";

/** Decides whether a server's host key may be used. */
export interface HostKeyVerifier {
  /**
   * The host key algorithms to put first, because a key of that kind is known.
   *
   * @param name The server, as `hostName` of known_hosts.ts names it.
   * @returns The algorithms, best first; none where nothing is known of the server.
   */
  preferredAlgorithms(name: string): Promise<string[]>;
  /**
   * Resolves when the key may be used. What was accepted or declined once stays so for as long as
   * the verifier lives, so that a rekey asks nobody again.
   *
   * @param name The server, as `hostName` of known_hosts.ts names it.
   * @param key The public key that the server showed, or the certificate.
   * @param address The IP address that was connected to, where the connection leads to the server
   * itself and not to a proxy or a jump host.
   * @throws {SessionError} `host-key-unknown`, `host-key-changed` or `host-key-revoked` when the
   * key is refused; `protocol-error` when it is no key at all.
   */
  verify(name: string, key: Buffer, address?: string): Promise<void>;
  /**
   * Whether it is worth connecting again after the last refusal: `preferredAlgorithms` then puts
   * keys of other types first, which the server may have as well, and one may be accepted.
   */
  hasAnother?(): boolean;
}

/** What {@linkcode knownHostsVerifier} goes by. */
export interface KnownHostsOptions {
  /** The user's known_hosts files; new keys go to the first. None at all remembers nothing. */
  readonly userFiles: readonly string[];
  /** The machine's known_hosts files, only read. */
  readonly globalFiles: readonly string[];
  /** What to do with a key that no file holds. */
  readonly strict: StrictHostKeyChecking;
  /** Whom to ask when `strict` is `ask`; without anybody, an unknown key is refused. */
  readonly prompter?: Prompter;
  /** The name to look up and to remember instead of the server's own, whatever its port. */
  readonly hostKeyAlias?: string;
  /** Whether the names of hosts that are remembered are hashed. */
  readonly hashKnownHosts?: boolean;
  /** What the authority of a host certificate may sign with, as CASignatureAlgorithms has it. */
  readonly caSignatureAlgorithms?: string;
  /** Whether every key is accepted from a loopback address. */
  readonly noHostAuthenticationForLocalhost?: boolean;
}

const log = logger("ssh");

/**
 * A verifier that goes by known_hosts files, as ssh does. The files are read anew for every key, so
 * that a line added or mended meanwhile counts. A file that does not exist is empty; one that
 * cannot be read, and a line that cannot be understood, is reported once and skipped.
 *
 * @param options The files, and what to do with an unknown key.
 * @returns The verifier. Both its methods reject with a SessionError `config-invalid` for a file
 * above 64 MiB.
 * @throws {SessionError} `algorithm-mismatch` for a signature algorithm that is not known.
 */
export function knownHostsVerifier(options: KnownHostsOptions): HostKeyVerifier {
  const { hostKeyAlias: alias, noHostAuthenticationForLocalhost: skipsLocalhost } = options;
  const files = [...options.userFiles, ...options.globalFiles];
  const signedWith = authorityAlgorithms(options.caSignatureAlgorithms);
  const reported = new Set<string>();
  const answers = new Map<string, Promise<boolean>>();

  /** The names that the files may have for a server, the better one first. */
  function namesOf(server: string): string[] {
    if (alias !== undefined) return [alias.toLowerCase()];
    const host = /^\[(.+)\]:\d+$/.exec(server)?.[1];
    return host === undefined ? [server] : [server, host];
  }

  function hostNames(server: string): HostNames {
    const name = alias?.toLowerCase() ?? server;
    return { name, label: name === server ? name : `${server} (HostKeyAlias ${name})` };
  }

  async function decide(server: string, shown: Buffer): Promise<boolean> {
    const host = hostNames(server);
    const names = namesOf(server);
    const entries = await readKnownHosts(files, reported);
    let key = shown;
    const certificate = readCertificate(shown);
    if (certificate !== undefined) {
      const concerned = names.flatMap((name) => entriesOf(entries, name));
      // What the names end with has no port, and so have principals.
      if (isVouchedFor(host, certificate, concerned, names.at(-1) ?? "", signedWith)) return true;
      key = certificate.key;
    }
    const verdict = lookupInTurn(entries, names, key);
    if (verdict.kind === "known") return true;
    if (verdict.kind === "revoked") throw markedRevoked(host, verdict.entry);
    // With "no", ssh goes on here without forwarding and without passwords. Forwarding is all that
    // there is here, so a changed key is refused whatever was asked for.
    if (verdict.kind === "changed") throw changed(host, key, verdict.entries);
    // So does ssh. Somebody in between could else choose a type that is not known yet, and be taken
    // for a new host.
    if (verdict.otherTypes.length > 0) throw changed(host, key, verdict.otherTypes);
    return await decideUnknown(host, key, options);
  }

  return {
    async preferredAlgorithms(server: string): Promise<string[]> {
      const entries = await readKnownHosts(files, reported);
      const names = namesOf(server);
      const hasAuthority = names.some((name) =>
        entriesOf(entries, name).some((entry) => entry.marker === "cert-authority")
      );
      const all = names.map((name) => algorithmsFor(entries, name));
      const plain = all.find((algorithms) => algorithms.length > 0) ?? [];
      return hasAuthority ? [...CERTIFICATE_ALGORITHMS, ...plain] : plain;
    },

    async verify(server: string, key: Buffer, address?: string): Promise<void> {
      const host = hostNames(server);
      checkKey(host, key);
      checkName(host, key);
      if (skipsLocalhost && alias === undefined && address !== undefined && isLoopback(address)) {
        log.debug("{name} is at {address}: its host key is not checked", { name: server, address });
        return;
      }
      const question = `${server} ${key.toString("base64")}`;
      let answer = answers.get(question);
      if (answer === undefined) {
        answer = decide(server, key);
        answers.set(question, answer);
        // A refusal is no answer: the next connection finds the file mended, or a person there.
        answer.catch(() => answers.delete(question));
      }
      if (!await answer) throw declined(host, key);
    },
  };
}

/**
 * Whether an authority that the lines name vouches for the host. Where it does not, the plain key
 * in the certificate is looked up as if there were no certificate; so does ssh.
 */
function isVouchedFor(
  host: HostNames,
  certificate: Certificate,
  entries: readonly KnownHostsEntry[],
  principal: string,
  signedWith: readonly string[],
): boolean {
  const { key, authority } = certificate;
  const revoked = entries.find((entry) =>
    entry.marker === "revoked" && (entry.key.equals(key) || entry.key.equals(authority))
  );
  if (revoked !== undefined) throw markedRevoked(host, revoked);
  const trusted = entries.some((entry) =>
    entry.marker === "cert-authority" && entry.key.equals(authority)
  );
  if (!trusted) return false;
  const fault = faultOf(certificate, principal, Date.now(), signedWith);
  if (fault === undefined) return true;
  log.warn("the host certificate of {name} is not accepted: {fault}", { name: host.label, fault });
  return false;
}

/** Decides about a key of a host that nothing is known of: true to go on, false if declined. */
async function decideUnknown(
  host: HostNames,
  key: Buffer,
  options: KnownHostsOptions,
): Promise<boolean> {
  const { strict, prompter, userFiles, globalFiles, hashKnownHosts } = options;
  const [file] = userFiles;
  if (strict === "yes" || (strict === "ask" && prompter === undefined)) {
    throw unknown(host, key, file ?? globalFiles[0], strict === "ask");
  }
  if (strict === "ask") {
    const accepted = await prompter?.confirmHostKey({
      host: host.label,
      keyType: keyTypeLabel(keyTypeOf(key)),
      fingerprint: fingerprint(key),
    });
    if (!accepted) return false;
  }
  if (file !== undefined) await remember(file, host.name, key, hashKnownHosts ?? false);
  return true;
}

/** Adds the key to the file; where that fails, says so and goes on, as ssh does. */
async function remember(file: string, name: string, key: Buffer, hashed: boolean): Promise<void> {
  try {
    if (!await addKnownHost(file, name, key, hashed)) return;
    log.warn("permanently added {name} ({keyType}) to the list of known hosts, {file}", {
      name,
      keyType: keyTypeLabel(keyTypeOf(key)),
      file,
    });
  } catch (error) {
    log.warn("cannot add {name} to the list of known hosts, {file}: {reason}", {
      name,
      file,
      reason: systemCodeOf(error) === "ENOENT" ? "its folder does not exist" : fileReason(error),
    });
  }
}

/**
 * Looks the host up, and where nothing is known of `[host]:port`, the host without its port, as
 * check_host_key() of OpenSSH's sshconnect.c does: that may vouch for the key, and here it may also
 * revoke it.
 */
function lookupInTurn(
  entries: readonly KnownHostsEntry[],
  [name = "", fallbackName]: readonly string[],
  key: Buffer,
): Verdict {
  const verdict = lookup(entries, name, key);
  if (verdict.kind !== "unknown" || verdict.otherTypes.length > 0) return verdict;
  if (fallbackName === undefined) return verdict;
  const fallback = lookup(entries, fallbackName, key);
  return fallback.kind === "known" || fallback.kind === "revoked" ? fallback : verdict;
}

/** Refuses a key that could not even be described to a person. */
function checkKey({ label }: HostNames, key: Buffer): void {
  try {
    keyTypeOf(key);
    readCertificate(key);
  } catch (cause) {
    throw malformed(label, cause);
  }
}

/** Refuses a name, such as a careless alias, that would match or become other lines of a file. */
function checkName({ name }: HostNames, key: Buffer): void {
  try {
    formatEntry(name, key);
  } catch (cause) {
    throw new SessionError(messageOf(cause), { code: "config-invalid", cause });
  }
}
