/** The JSON Schema that editors read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "@std/yaml";
import { z } from "zod";
import { jsonSchema, tunnelSchema } from "../lib/config/schema.ts";
import { startingFile } from "../lib/config/starting_file.ts";

type Schema = Readonly<Record<string, unknown>>;

const SCHEMA = jsonSchema() as Schema;
const checker = z.fromJSONSchema(SCHEMA as Parameters<typeof z.fromJSONSchema>[0]);
const accepts = (text: string) => checker.safeParse(parse(text, { schema: "core" })).success;

/** Every schema in a schema, with its place. */
function within(schema: unknown, at = "#"): [string, Schema][] {
  if (typeof schema !== "object" || schema === null) return [];
  const own: [string, Schema][] = Array.isArray(schema) ? [] : [[at, schema as Schema]];
  return [
    ...own,
    ...Object.entries(schema).flatMap(([key, inner]) => within(inner, `${at}/${key}`)),
  ];
}

test("it is of draft 2020-12, and plain JSON", () => {
  assert.equal(SCHEMA["$schema"], "https://json-schema.org/draft/2020-12/schema");
  assert.deepEqual(JSON.parse(JSON.stringify(SCHEMA)), SCHEMA);
});

test("every key has a description, and no mapping takes other keys than its own", () => {
  let keys = 0;
  for (const [at, schema] of within(SCHEMA)) {
    const properties = schema["properties"];
    if (typeof properties !== "object" || at.endsWith("/properties")) continue;
    assert.equal(schema["additionalProperties"], false, at);
    for (const [key, inner] of Object.entries(properties as Record<string, Schema>)) {
      const description = inner["description"];
      assert.ok(typeof description === "string" && description !== "", `${at}/${key}`);
      keys += 1;
    }
  }
  // Those of tunnels, most of them once more among the defaults, those of forwards, and the file's.
  assert.ok(keys > Object.keys(tunnelSchema.shape).length * 1.8, `${keys} keys`);
});

test("it accepts the file that init writes, and both forms of every kind of forward", () => {
  assert.ok(accepts(startingFile()));
  assert.ok(accepts(`
version: 1
defaults: { keepalive: 15s, hostKeyPolicy: strict, options: { Compression: no } }
tunnels:
  mail:
    host: deploy@other.example.com
    port: 22
    jump: [bastion]
    identity: ~/.ssh/id_ed25519
    knownHosts: ./known_hosts
    forwards:
      - local: 1100:mail.example.com:110
      - { name: db, local: 0, to: db.internal:5432 }
      - remote: 8080:localhost:3000
      - { remote: 8081, to: localhost:3000 }
      - dynamic: 1080
    groups: [dev]
    dependsOn: vpn
  vpn: { host: vpn, port: "\${PORT:-22}", connections: auto }
`));
});

test("it refuses unknown keys everywhere, and values of a wrong form", () => {
  const mail = (keys: string) => `version: 1\ntunnels: { mail: { host: h, ${keys} } }\n`;
  assert.ok(accepts(mail("port: 22")));
  for (
    const text of [
      "version: 1\ntunels: {}\ntunnels: {}\n",
      "version: 2\ntunnels: {}\n",
      "version: 1\n",
      "version: 1\ndefaults: { host: h }\ntunnels: {}\n",
      "version: 1\ntunnels: { mail: { port: 22 } }\n",
      "version: 1\ntunnels: { mail: h }\n",
      "version: 1\ntunnels: { 'a b': { host: h } }\n",
      mail("prot: 22"),
      mail("port: [22]"),
      mail("port: null"),
      mail("user: ''"),
      mail("hostKeyPolicy: maybe"),
      mail("forwards: { local: 1 }"),
      mail("forwards: [{ nam: x, local: 1 }]"),
      mail("forwards: [8080]"),
      mail("jump: { a: b }"),
      mail("wait: 1"),
      mail("options: [a]"),
      mail("options: { Compression: [a] }"),
    ]
  ) assert.ok(!accepts(text), text);
});
