/**
 * The system's libcrypto, where it can be called: found, opened and tried once, when the first
 * connection asks for it.
 *
 * @module
 */
import process from "node:process";
import { messageOf } from "../../errors.ts";
import { logger } from "../../log.ts";
import { mayCallNative, openNativeLibrary } from "../../runtime.ts";
import { type LibCrypto, SIGNATURES } from "./libcrypto.ts";
import { isSound, speed } from "./libcrypto_trial.ts";

const log = logger("ssh");

/**
 * Where OpenSSL 3 or 1.1.1 is, by the system. On macOS only with a version in the name, below the
 * folders of Homebrew and MacPorts: the system's own libcrypto.dylib ends the process that opens it.
 */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  linux: ["libcrypto.so.3", "libcrypto.so.1.1"],
  darwin: [
    "/opt/homebrew/opt/openssl@3/lib/libcrypto.3.dylib",
    "/usr/local/opt/openssl@3/lib/libcrypto.3.dylib",
    "/opt/local/libexec/openssl3/lib/libcrypto.3.dylib",
  ],
};

/** Bytes a second below which AES has no instructions of its own here, and ChaCha20 is faster. */
const FAST = 300e6;

/** A libcrypto that does what it should. */
export interface SystemCrypto {
  readonly library: LibCrypto;
  /** Where it is. */
  readonly place: string;
  /** Whether its AES is faster than the ChaCha20 of any runtime. */
  readonly fast: boolean;
}

/** What was found; missing until somebody asked. */
let answer: { readonly found: SystemCrypto | undefined } | undefined;

/**
 * The system's libcrypto.
 *
 * @returns It; undefined where there is none that can be called and that passes the trial.
 */
export function systemCrypto(): SystemCrypto | undefined {
  return (answer ??= { found: search() }).found;
}

function search(): SystemCrypto | undefined {
  if (!mayCallNative()) return undefined;
  const reasons: string[] = [];
  for (const place of PLACES[process.platform] ?? []) {
    const found = tryPlace(place);
    if (typeof found !== "string") return found;
    reasons.push(`${place}: ${found}`);
  }
  if (reasons.length > 0) {
    log.info("the system's libcrypto is not used: {reasons}", { reasons: reasons.join("; ") });
  }
  return undefined;
}

/** @returns The reason, where it will not do. */
function tryPlace(place: string): SystemCrypto | string {
  try {
    const library = openNativeLibrary(place, SIGNATURES) as LibCrypto;
    if (!isSound(library)) return "it does not agree with the runtime's AES";
    const fast = speed(library) > FAST;
    log.debug("{place} can do AES-GCM{words}", { place, words: fast ? "" : ", but not fast" });
    return { library, place, fast };
  } catch (error) {
    // Deno says it twice.
    return messageOf(error).replace(/^(?:Could not open library: )+/, "could not be opened: ");
  }
}
