/**
 * Strict key exchange, against the Terrapin attack (CVE-2023-48795): ssh2 offers it, and keeps to
 * it where the server has it too. What is left to say is where a server has it not.
 *
 * @module
 */
import { logger } from "../log.ts";
import type { EngineClient } from "./ssh2.ts";

const log = logger("ssh");

/**
 * Says once what a server without strict key exchange allows. Like ssh, fairlead goes on: the
 * attack takes away messages from the beginning of the session, which weakens what OpenSSH hides
 * of typing and little else.
 *
 * @param engine ssh2's client, before its first exchange of keys.
 * @param server The server, as people write it.
 */
export function noteLaxKeyExchange(engine: EngineClient, server: string): void {
  engine.once("handshake", ({ cs, sc }) => {
    if (engine._protocol._strictMode) return;
    const weak = [cs, sc].find(({ cipher, mac }) =>
      cipher.startsWith("chacha20-") || (cipher.endsWith("-cbc") && mac.includes("-etm@"))
    );
    if (weak === undefined) return;
    log.info(
      "{server} has no strict key exchange, and with {cipher} somebody in between can take away " +
        "the session's first messages (CVE-2023-48795): update the server, or use " +
        "-c aes256-gcm@openssh.com or aes256-ctr",
      { server, cipher: weak.cipher },
    );
  });
}
