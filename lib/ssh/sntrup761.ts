/**
 * The key encapsulation sntrup761, Streamlined NTRU Prime (ntruprime.cr.yp.to, round 3 of NIST's
 * process): OpenSSH's first post-quantum key exchange, and the only one of most servers in use.
 *
 * No package has it. It stands beside X25519 and never alone: what a mistake here could cost is the
 * protection against quantum computers, not the protection against today's. No branch depends on
 * a secret but in the sorting; more than that about time JavaScript cannot promise.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** Polynomials have this many coefficients; the ring is that of x^P - x - 1. */
const P = 761;
/** Coefficients are counted modulo this prime, from -HALF to HALF. */
const Q = 4591;
const HALF = (Q - 1) / 2;
/** So many coefficients of a short polynomial are 1 or -1. */
const WEIGHT = 286;

/** Bytes of a public key. */
export const PUBLIC_KEY_BYTES = 1158;
/** Bytes of a ciphertext: the rounded polynomial, and a hash that confirms it. */
export const CIPHERTEXT_BYTES = 1039;
const ROUNDED_BYTES = 1007;

/** A polynomial, the constant term first. */
type Polynomial = Int32Array;

/** A key pair of one exchange. */
export interface SntrupKeyPair {
  /** What the peer gets. */
  readonly publicKey: Buffer;
  /** The secret. */
  readonly secret: {
    readonly f: Polynomial;
    readonly gInverse: Polynomial;
    /** Stands for the secret of a ciphertext that is not right. */
    readonly rho: Buffer;
  };
}

/**
 * Makes a key pair.
 *
 * @returns The pair.
 */
export function generateKeyPair(): SntrupKeyPair {
  let g: Polynomial;
  let gInverse: Polynomial | undefined;
  do {
    g = randomSmall();
    gInverse = inverse3(g);
  } while (gInverse === undefined);
  const f = randomShort();
  const publicKey = encode([...multiply(inverseOf3f(f), g, Q)].map((c) => c + HALF), Q);
  return { publicKey, secret: { f, gInverse, rho: randomBytes(Math.ceil(P / 4)) } };
}

/**
 * Makes a secret for whoever has a key.
 *
 * @param publicKey Theirs.
 * @returns The secret's 32 bytes, and what to send.
 * @throws {RangeError} When the key has the wrong length.
 */
export function encapsulate(publicKey: Buffer): { secret: Buffer; ciphertext: Buffer } {
  checkLength(publicKey, PUBLIC_KEY_BYTES);
  const r = randomShort();
  const ciphertext = encrypt(r, publicKey);
  return { secret: sessionKey(1, packSmall(r), ciphertext), ciphertext };
}

/**
 * Opens what `encapsulate` made.
 *
 * @param ciphertext What the peer sent.
 * @param pair The key pair that it was made for.
 * @returns The secret's 32 bytes; others, that nobody else knows, where the ciphertext is not right.
 * @throws {RangeError} When it has the wrong length.
 */
export function decapsulate(ciphertext: Buffer, pair: SntrupKeyPair): Buffer {
  checkLength(ciphertext, CIPHERTEXT_BYTES);
  const { publicKey, secret: { f, gInverse, rho } } = pair;
  const rounded = decode(ciphertext.subarray(0, ROUNDED_BYTES), (Q + 2) / 3)
    .map((c) => c * 3 - HALF);
  const e = multiply(Int32Array.from(rounded), f, Q).map((c) => centered(centered(3 * c, Q), 3));
  const r = multiply(e, gInverse, 3);
  let weight = 0;
  for (const c of r) weight += c & 1;
  // 0 where the weight is right, -1 where it is not; then a fixed short polynomial takes its place.
  const wrong = -Number(weight !== WEIGHT);
  for (let i = 0; i < P; i++) {
    const fixed = Number(i < WEIGHT);
    r[i] = ((r[i] as number) & ~wrong) | (fixed & wrong);
  }
  const right = Number(timingSafeEqual(encrypt(r, publicKey), ciphertext));
  const packed = packSmall(r);
  for (let i = 0; i < packed.length; i++) {
    packed[i] = ((packed[i] as number) & -right) | ((rho[i] as number) & (right - 1));
  }
  return sessionKey(right, packed, ciphertext);
}

function checkLength(data: Buffer, length: number): void {
  if (data.length === length) return;
  throw new RangeError(`expected ${length} bytes of sntrup761, not ${data.length}`);
}

/** The ciphertext of a short polynomial, which is determined by it. */
function encrypt(r: Polynomial, publicKey: Buffer): Buffer {
  const h = Int32Array.from(decode(publicKey, Q), (c) => c - HALF);
  const rounded = multiply(h, r, Q).map((c) => (c - centered(c, 3) + HALF) / 3);
  const confirmation = hash(2, hash(3, packSmall(r)), hash(4, publicKey));
  return Buffer.concat([encode([...rounded], (Q + 2) / 3), confirmation]);
}

function sessionKey(prefix: number, packed: Buffer, ciphertext: Buffer): Buffer {
  return hash(prefix, hash(3, packed), ciphertext);
}

function hash(prefix: number, ...parts: Buffer[]): Buffer {
  const sha512 = createHash("sha512").update(Buffer.of(prefix));
  for (const part of parts) sha512.update(part);
  return sha512.digest().subarray(0, 32);
}

/** Added to a small number and taken away again, it leaves the nearest whole one. */
const ROUND = 1.5 * 2 ** 52;

/** The representative of a number modulo m that is nearest to 0; m is odd. */
function centered(value: number, m: number): number {
  return value - m * Math.floor(value * (1 / m) + 0.5);
}

/** The product of two polynomials, of which one is small. */
function multiply(a: Polynomial, small: Polynomial, m: number): Polynomial {
  const product = new Int32Array(2 * P - 1);
  for (let i = 0; i < P; i++) {
    addMultiple(product, i, a, small[i] as number);
  }
  // x^P = x + 1.
  for (let i = 2 * P - 2; i >= P; i--) {
    const top = product[i] as number;
    (product[i - P] as number) += top;
    (product[i - P + 1] as number) += top;
  }
  return product.subarray(0, P).map((c) => centered(c, m));
}

/** Adds a multiple of one polynomial to a part of another; see {@linkcode subtract}. */
function addMultiple(sum: Polynomial, from: number, a: Polynomial, factor: number): void {
  for (let i = 0; i < P; i++) (sum[from + i] as number) += factor * (a[i] as number);
}

/** The inverse modulo 3; undefined where there is none. */
function inverse3(g: Polynomial): Polynomial | undefined {
  const { delta, f0, v } = divisionSteps(g, 3, 1);
  return delta === 0 ? reversed(v, (c) => c * f0) : undefined;
}

/** The inverse of 3f modulo Q; there is one for every f that is not 0, for the ring is a field. */
function inverseOf3f(f: Polynomial): Polynomial {
  const { f0, v } = divisionSteps(f, Q, inverseModQ(3));
  const scale = inverseModQ(f0);
  return reversed(v, (c) => centered(c * scale, Q));
}

function reversed(v: Float64Array, change: (c: number) => number): Polynomial {
  return Int32Array.from({ length: P }, (_, i) => change(v[P - 1 - i] as number));
}

function inverseModQ(a: number): number {
  // a^(Q-2), Fermat's little theorem.
  let result = 1;
  for (let i = 0; i < Q - 2; i++) result = centered(result * a, Q);
  return result;
}

/**
 * Euclid's algorithm with as many steps for every input (D. J. Bernstein, B.-Y. Yang, "Fast
 * constant-time gcd computation and modular inversion", 2019).
 */
function divisionSteps(
  polynomial: Polynomial,
  m: number,
  start: number,
): { delta: number; f0: number; v: Float64Array } {
  let f = new Float64Array(P + 1);
  let g = new Float64Array(P + 1);
  let v = new Float64Array(P + 1);
  let r = new Float64Array(P + 1);
  // Both are turned round: the highest coefficient comes first.
  f[0] = 1;
  f[P - 1] = -1;
  f[P] = -1;
  for (let i = 0; i < P; i++) g[P - 1 - i] = polynomial[i] as number;
  r[0] = start;
  let delta = 1;
  for (let step = 0; step < 2 * P - 1; step++) {
    v.copyWithin(1, 0, P);
    v[0] = 0;
    const swap = Number(delta > 0) & Number(g[0] !== 0);
    delta = delta * (1 - 2 * swap) + 1;
    // An index in place of a branch: the same is done whichever array is which.
    [f, g] = [[f, g], [g, f]][swap] as [typeof f, typeof g];
    [v, r] = [[v, r], [r, v]][swap] as [typeof v, typeof r];
    const f0 = f[0] as number;
    const g0 = g[0] as number;
    // Beyond these there are only zeros: f and g lose a coefficient each step, v and r win one.
    subtract(g, f, f0, g0, Math.min(P, 2 * P - 1 - step), m);
    subtract(r, v, f0, g0, Math.min(P, step + 1), m);
    g.copyWithin(0, 1, P + 1);
    g[P] = 0;
  }
  return { delta, f0: f[0] as number, v };
}

/**
 * Makes `to` a times itself less b times another one, modulo m. A function of its own, and not a
 * loop in a loop: runtimes compile it well within the first key pair.
 */
function subtract(
  to: Float64Array,
  other: Float64Array,
  a: number,
  b: number,
  end: number,
  m: number,
): void {
  const perM = 1 / m;
  for (let i = 0; i <= end; i++) {
    const value = a * (to[i] as number) - b * (other[i] as number);
    to[i] = value - m * ((value * perM + ROUND) - ROUND);
  }
}

/** A polynomial of WEIGHT coefficients 1 and -1 at random places, and zeros. */
function randomShort(): Polynomial {
  const numbers = randomNumbers();
  // The two lowest bits travel with the random rest: 0 and 2 for the coefficients, 1 for zeros.
  for (let i = 0; i < P; i++) {
    const number = numbers[i] as number;
    numbers[i] = i < WEIGHT ? number & ~1 : (number & ~3) | 1;
  }
  return Int32Array.from(numbers.sort(), (number) => (number & 3) - 1);
}

/** A polynomial of coefficients -1, 0 and 1, all equally likely. */
function randomSmall(): Polynomial {
  return Int32Array.from(randomNumbers(), (number) => Math.floor(number * 3 / 2 ** 32) - 1);
}

function randomNumbers(): Uint32Array {
  const bytes = randomBytes(4 * P);
  return Uint32Array.from({ length: P }, (_, i) => bytes.readUInt32LE(4 * i));
}

/** Four coefficients a byte. */
function packSmall(polynomial: Polynomial): Buffer {
  const bytes = Buffer.alloc(Math.ceil(P / 4));
  for (let i = 0; i < P; i++) {
    (bytes[i >> 2] as number) |= ((polynomial[i] as number) + 1) << (2 * (i & 3));
  }
  return bytes;
}

/** Below this a number waits for its neighbour; above, bytes are written. */
const LIMIT = 16384;

/** Writes numbers below m, neighbours two by two: as one number of the product of their ranges. */
function encode(numbers: number[], m: number): Buffer {
  const bytes: number[] = [];
  let values = numbers;
  let ranges = numbers.map(() => m);
  while (values.length > 1) {
    const merged: number[] = [];
    const mergedRanges: number[] = [];
    for (let i = 0; i < values.length; i += 2) {
      let value = values[i] as number;
      let range = ranges[i] as number;
      if (i + 1 < values.length) {
        value += (values[i + 1] as number) * range;
        range *= ranges[i + 1] as number;
        for (; range >= LIMIT; range = (range + 255) >> 8) {
          bytes.push(value & 255);
          value = Math.floor(value / 256);
        }
      }
      merged.push(value);
      mergedRanges.push(range);
    }
    values = merged;
    ranges = mergedRanges;
  }
  let value = values[0] as number;
  for (let range = ranges[0] as number; range > 1; range = (range + 255) >> 8) {
    bytes.push(value & 255);
    value >>= 8;
  }
  return Buffer.from(bytes);
}

/** Reads P numbers below m. Bytes that nobody would write give numbers below m, too. */
function decode(bytes: Buffer, m: number): number[] {
  let at = 0;
  const read = (ranges: number[]): number[] => {
    if (ranges.length === 1) {
      const range = ranges[0] as number;
      let value = 0;
      let unit = 1;
      for (let left = range; left > 1; left = (left + 255) >> 8) {
        value += (bytes[at++] as number) * unit;
        unit *= 256;
      }
      return [value % range];
    }
    const low: { value: number; unit: number }[] = [];
    const merged: number[] = [];
    for (let i = 0; i < ranges.length; i += 2) {
      let range = ranges[i] as number;
      let value = 0;
      let unit = 1;
      if (i + 1 < ranges.length) {
        range *= ranges[i + 1] as number;
        for (; range >= LIMIT; range = (range + 255) >> 8) {
          value += (bytes[at++] as number) * unit;
          unit *= 256;
        }
      }
      low.push({ value, unit });
      merged.push(range);
    }
    const high = read(merged);
    return ranges.map((range, i) => {
      const { value, unit } = low[i >> 1] as { value: number; unit: number };
      const both = value + unit * (high[i >> 1] as number);
      // The last of an odd number stands alone.
      if (i % 2 === 0) return i + 1 < ranges.length ? both % range : both;
      return Math.floor(both / (ranges[i - 1] as number)) % range;
    });
  };
  return read(Array.from({ length: P }, () => m));
}
