/** What may be said about reading. */
export interface ParseOptions {
  /** Whether a key may stand twice in a mapping, the last one counting; it may not by default. */
  allowDuplicateKeys?: boolean;
  /** The values that there are: `core` of YAML 1.2, or more by default. */
  schema?: "core" | "default" | "failsafe" | "json" | "extended";
}

/**
 * Reads one YAML document.
 *
 * @param content The text.
 * @param options What may be said about it.
 * @returns The value; null for an empty document.
 * @throws {SyntaxError} With line and column.
 */
export function parse(content: string, options?: ParseOptions): unknown;

/** What may be said about writing. */
export interface StringifyOptions {
  /** Columns of a level; 2 by default. */
  indent?: number;
  /** Columns of a line; 80 by default. */
  lineWidth?: number;
}

/**
 * Writes one value as YAML.
 *
 * @param data The value.
 * @param options What may be said about it.
 * @returns The text.
 */
export function stringify(data: unknown, options?: StringifyOptions): string;
