// @ts-check
/**
 * What GitHub's runner and an action say to each other: inputs come in variables, outputs and
 * variables for later steps go into files, and lines of stdout that begin with `::` are commands.
 * The toolkit says the same, but would have to be built into this repository.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import { delimiter } from "node:path";
import process from "node:process";

/** What the user can do something about, in one line. */
export class Failure extends Error {}

/**
 * An input of the step.
 *
 * @param {string} name Its name in action.yml.
 * @returns {string} Its value as it stands there; "" where it is not given.
 */
export function input(name) {
  // Hyphens stay: no shell could name such a variable, but a process can have it.
  return process.env[`INPUT_${name.replaceAll(" ", "_").toUpperCase()}`] ?? "";
}

/**
 * A variable that the runner always sets.
 *
 * @param {...string} names Its name, and others that do in its place.
 * @returns {string} Its value.
 * @throws {Failure} When there is none.
 */
export function runnerVariable(...names) {
  const found = names.map((name) => process.env[name] ?? "").find((value) => value !== "");
  if (found !== undefined) return found;
  throw new Failure(
    `the variable ${names[0]} is not set; GitHub's runner sets it, from 2.327.1 on`,
  );
}

/**
 * Sets an output of the step.
 *
 * @param {string} name Its name.
 * @param {string} value Its value.
 */
export function setOutput(name, value) {
  appendEntry("GITHUB_OUTPUT", name, value);
}

/**
 * Sets a variable for the steps that follow.
 *
 * @param {string} name Its name.
 * @param {string} value Its value.
 */
export function exportVariable(name, value) {
  appendEntry("GITHUB_ENV", name, value);
}

/**
 * Keeps something for the step's second part, at the job's end.
 *
 * @param {string} name Its name.
 * @param {string} value What.
 */
export function saveState(name, value) {
  appendEntry("GITHUB_STATE", name, value);
}

/**
 * What the first part of the step has kept.
 *
 * @param {string} name Its name.
 * @returns {string} What; "" where it kept nothing.
 */
export function state(name) {
  return process.env[`STATE_${name}`] ?? "";
}

/**
 * Puts a folder first on the PATH of the steps that follow.
 *
 * @param {string} folder The folder.
 */
export function addPath(folder) {
  appendFileSync(runnerVariable("GITHUB_PATH"), `${folder}\n`);
  process.env["PATH"] = [folder, process.env["PATH"]].join(delimiter);
}

/**
 * Has the runner put `***` in the place of a secret, in whatever it shows from now on.
 *
 * @param {string} secret The secret; of several lines, each is one.
 */
export function mask(secret) {
  for (const line of secret.split(/\r?\n/).map((text) => text.trim())) {
    // The first and the last line of a key are no secret, and might stand in another text.
    if (line !== "" && !line.startsWith("-----")) say("add-mask", line);
  }
}

/**
 * Says why the step fails.
 *
 * @param {string} message One line.
 */
export function error(message) {
  say("error title=fairlead", message);
}

/**
 * Says what is not as it should be.
 *
 * @param {string} message One line.
 */
export function warning(message) {
  say("warning title=fairlead", message);
}

/**
 * Shows the text of somebody else, in a group that can be opened. No line of it is a command to the
 * runner: what a server says is in there as well.
 *
 * @param {string} title The group's name.
 * @param {string} text The text.
 */
export function showLog(title, text) {
  const token = randomUUID();
  say("group", title);
  console.log(`::stop-commands::${token}`);
  console.log(text.trimEnd());
  console.log(`::${token}::`);
  say("endgroup", "");
}

/**
 * @param {string} command The command, with its properties.
 * @param {string} value What it is about.
 */
function say(command, value) {
  const escaped = value.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  console.log(`::${command}::${escaped}`);
}

/**
 * @param {string} file The variable that names the file.
 * @param {string} name
 * @param {string} value
 */
function appendEntry(file, name, value) {
  // It cannot be guessed, so no value can end early and begin another entry.
  const mark = `fairlead_${randomUUID()}`;
  appendFileSync(runnerVariable(file), `${name}<<${mark}\n${value}\n${mark}\n`);
}
