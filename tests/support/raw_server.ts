/** An SSH server whose every answer is the test's. */
import { once } from "node:events";
import ssh2 from "ssh2";
import { generateIdentity } from "../../lib/ssh/keys.ts";

/** A server of ssh2's own, which lets everybody in and leaves the rest to the test. */
export async function rawServer(serve: (client: ssh2.Connection) => void) {
  const { privateKey, publicKey } = generateIdentity();
  const server = new ssh2.Server({ hostKeys: [privateKey] }, (client) => {
    client.on("authentication", (context) => context.accept());
    client.on("error", () => {});
    serve(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    port,
    publicKey: publicKey.split(" ").slice(0, 2).join(" "),
    [Symbol.dispose]: () => void server.close(),
  };
}
