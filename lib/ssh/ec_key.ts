/**
 * ECDSA private keys, put right for every runtime.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Bytes of the private number of each curve, by the curve's name in DER. */
const NUMBER_LENGTHS: readonly [curve: Buffer, length: number][] = [
  [Buffer.from("2a8648ce3d030107", "hex"), 32], // nistp256
  [Buffer.from("2b81040022", "hex"), 48], // nistp384
  [Buffer.from("2b81040023", "hex"), 66], // nistp521
];

const EC_HASHES: ReadonlyMap<string, string> = new Map([
  ["ecdsa-sha2-nistp256", "sha256"],
  ["ecdsa-sha2-nistp384", "sha384"],
  ["ecdsa-sha2-nistp521", "sha512"],
]);

const INTEGER_ONE = Buffer.from([0x02, 0x01, 0x01]);
const OCTET_STRING = 0x04;
const SEQUENCE = 0x30;

/**
 * Gives an ECDSA private key's number the length that its curve has (RFC 5915 section 3).
 *
 * OpenSSH stores the number as an mpint, with a zero before it or without its own leading zeros,
 * and ssh2 puts it into PEM as it is. OpenSSL takes that; Deno does not.
 *
 * @param pem An EC PRIVATE KEY as ssh2 writes it.
 * @returns The same key, in the form that everybody reads.
 */
export function normalizeEcPem(pem: string): string {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const body = der.subarray(headerLength(der));
  const length = NUMBER_LENGTHS.find(([curve]) => body.includes(curve))?.[1];
  const expected = Buffer.concat([INTEGER_ONE, Buffer.from([OCTET_STRING])]);
  const found = body[expected.length];
  if (length === undefined || found === undefined || found === length) return pem;
  if (!body.subarray(0, expected.length).equals(expected)) return pem;
  const start = expected.length + 1;
  const number = body.subarray(start, start + found);
  const padded = Buffer.alloc(length);
  const kept = number.subarray(Math.max(0, number.length - length));
  kept.copy(padded, length - kept.length);
  const fixed = Buffer.concat([
    expected,
    Buffer.from([length]),
    padded,
    body.subarray(start + found),
  ]);
  const base64 = Buffer.concat([header(fixed.length), fixed]).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return ["-----BEGIN EC PRIVATE KEY-----", ...lines, "-----END EC PRIVATE KEY-----", ""].join(
    "\n",
  );
}

/**
 * The digest that an ECDSA key signs with (RFC 5656 section 6.2.1).
 *
 * @param keyType The key's type as SSH names it.
 * @returns The digest's name; undefined for other keys.
 */
export function ecHashOf(keyType: string): string | undefined {
  return EC_HASHES.get(keyType);
}

/** Bytes of a DER sequence's tag and length. */
function headerLength(der: Buffer): number {
  const first = der[1] ?? 0;
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

function header(length: number): Buffer {
  return Buffer.from(length < 0x80 ? [SEQUENCE, length] : [SEQUENCE, 0x81, length]);
}
