/**
 * Errors as they are kept, and as they travel.
 *
 * @module
 */
import { type ErrorCode, FairleadError, messageOf } from "../errors.ts";
import type { ControlError } from "./protocol.ts";
import type { Failure } from "./status.ts";

/**
 * An error as it travels.
 *
 * @param error What was thrown.
 * @returns Code, message and hint.
 */
export function controlError(error: unknown): ControlError {
  if (!(error instanceof FairleadError)) return { code: "internal", message: messageOf(error) };
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

/**
 * An error as a status shows it.
 *
 * @param error What was thrown.
 * @returns The same, with the time.
 */
export function failureOf(error: unknown): Failure {
  return { ...controlError(error), time: new Date().toISOString() };
}

/**
 * An error that has travelled.
 *
 * @param error What came.
 * @param about What it is about, where that is to be said.
 * @returns What can be thrown and shown. Codes that this version does not know stay as they are.
 */
export function errorFrom({ code, message, hint }: ControlError, about?: string): FairleadError {
  return new FairleadError(about === undefined ? message : `${about}: ${message}`, {
    code: code as ErrorCode,
    ...(hint === undefined ? {} : { hint }),
  });
}
