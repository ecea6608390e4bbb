/**
 * fairlead.yaml: found, read, checked, and made into what is handed on.
 *
 * @module
 */
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type * as z from "zod";
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { checkDependencies, checkForwards } from "./checks.ts";
import { CONFIG_NAMES, findConfig, readConfigFile, shownPath, type Surroundings } from "./find.ts";
import { type Places, placesOf } from "./places.ts";
import { parseYaml, tabMistakes } from "./parse_yaml.ts";
import {
  ConfigError,
  formatPath,
  MOST_PROBLEMS,
  type Path,
  type Problem,
  problemText,
} from "./problems.ts";
import { readTunnel } from "./read_tunnel.ts";
import { fileSchema, MOST_TUNNELS, tunnelSchema } from "./schema.ts";
import type { TunnelConfig } from "./tunnel_config.ts";
import { foundWords, shownValue } from "./shown_value.ts";
import { expandVariables } from "./variables.ts";

/** A file that was read. */
export interface ConfigFile {
  /** Its absolute path. */
  readonly path: string;
  /** How it is shown. */
  readonly shown: string;
  /** Its tunnels, in its order. */
  readonly tunnels: readonly TunnelConfig[];
}

/**
 * Finds and reads the fairlead.yaml that is meant.
 *
 * @param surroundings Where to look, and the variables.
 * @returns The file.
 * @throws {ConfigError} With all that is wrong with it.
 * @throws {UsageError} `config-invalid` where there is none, or it cannot be believed.
 */
export function loadConfig(surroundings: Surroundings): ConfigFile {
  const path = findConfig(surroundings);
  if (path === undefined) {
    throw new UsageError(
      `there is no ${CONFIG_NAMES[0]} here, in a folder above, or in the user's own configuration`,
      "fairlead init writes one to begin with; --config names another",
      "config-invalid",
    );
  }
  const shown = shownPath(path, surroundings.cwd);
  return readConfig(readConfigFile(path, shown), { ...surroundings, path, shown });
}

/**
 * Reads the text of a file. Nothing is looked at but the text and the variables.
 *
 * @param text The text.
 * @param surroundings Where it is from, and the variables.
 * @returns The file.
 * @throws {ConfigError} With all that is wrong with it.
 */
export function readConfig(
  text: string,
  { path: file, shown, home, environment }:
    & Pick<Surroundings, "home" | "environment">
    & Pick<ConfigFile, "path" | "shown">,
): ConfigFile {
  const problems: Problem[] = [];
  const places = placesOf(text);
  const { lineOf } = places;
  const written = parseYaml(text, shown, places);
  const seen = new Set<string>();
  const complain = (path: Path, problem: Pick<Problem, "message" | "hint">) => {
    const shownPath = formatPath(path);
    // What follows from a mistake is no second one.
    if (seen.has(shownPath)) return;
    seen.add(shownPath);
    problems.push({ line: lineOf(path), path: shownPath, ...problem });
  };
  const value = expandVariables(written, environment, complain);
  refuseUnlisted(value, complain);
  const { error } = fileSchema.safeParse(value);
  const wrong = (error?.issues ?? []).map(nearestIssue);
  for (const issue of wrong) tell(issue, { value, wrong, complain });

  const tunnels = mappingAt(value, "tunnels");
  const defaults = mappingAt(value, "defaults");
  const names = Object.keys(tunnels);
  if (names.length > MOST_TUNNELS) {
    complain(["tunnels"], { message: `expected ${MOST_TUNNELS} tunnels at most` });
  }
  const usable = asMapping(withoutMistakes(defaults, ["defaults"], wrong));
  const read = names.slice(0, MOST_TUNNELS).flatMap((name) => {
    const at = ["tunnels", name];
    const own = withoutMistakes(tunnels[name], at, wrong);
    if (own === undefined) return [];
    const pathOf = (key?: string): Path => {
      if (key === undefined) return at;
      const steps = key.split(".");
      const [first = "", second] = steps;
      const isOwn = first === "options" && second !== undefined
        ? Object.hasOwn(asMapping(own[first]), second)
        : Object.hasOwn(own, first) || !Object.hasOwn(usable, first);
      return isOwn ? [...at, ...steps] : ["defaults", ...steps];
    };
    const input = tunnelSchema.safeParse(merged(name, usable, own));
    if (!input.success) return [];
    checkOwn(own, at, complain);
    return [
      readTunnel(name, input.data, pathOf, {
        ...{ file, home, environment, complain },
        folder: dirname(file),
        tunnels: names,
        where: (path) =>
          problemText(shown, { line: lineOf(path), path: formatPath(path), message: "" })
            .replace(/: $/, ""),
      }),
    ];
  });
  checkDependencies(read, names, { complain });
  checkForwards(read, { complain, lineOf });
  if (problems.length > 0) throw new ConfigError(shown, told(problems, places));
  return { path: file, shown, tunnels: read };
}

/** Of a union's branches the one that what was found is nearest to. */
function nearestIssue(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== "invalid_union") return issue;
  const deeper = issue.errors.flat().find(({ path }) => path.length > 0) ??
    issue.errors.flat().find(({ code }) => code === "custom" || code === "too_small");
  if (deeper === undefined) return issue;
  return nearestIssue({ ...deeper, path: [...issue.path, ...deeper.path] } as z.core.$ZodIssue);
}

function tell(
  issue: z.core.$ZodIssue,
  { value, wrong, complain }: {
    readonly value: unknown;
    readonly wrong: readonly z.core.$ZodIssue[];
    readonly complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void;
  },
): void {
  const path = issue.path as Path;
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys) {
      if (key === "<<") {
        const hint = "what tunnels have in common belongs into defaults";
        complain([...path, key], { message: "merge keys are not read", hint });
        continue;
      }
      if (path[0] === "defaults" && Object.hasOwn(tunnelSchema.shape, key)) {
        complain([...path, key], { message: "each tunnel says this for itself" });
        continue;
      }
      const guess = nearest(key, keysOf(path));
      complain([...path, key], {
        message: "unknown key",
        hint: guess === undefined
          ? `there are ${keysOf(path).join(", ")}`
          : `did you mean ${guess}?`,
      });
    }
    return;
  }
  const { found, whole } = valueAt(value, path);
  if (whole === false && isMisspelt(path, wrong)) return;
  const message = issue.code === "invalid_key" ? issue.issues[0]?.message ?? "" : issue.message;
  const words = issue.code === "invalid_key" || whole === false
    ? message
    : foundWords(shownValue(found, path), message);
  complain(path, { message: whole === false ? `it is missing: ${message}` : words });
}

/** Whether a key that is missing is there in another spelling, which is told of by itself. */
function isMisspelt(path: Path, wrong: readonly z.core.$ZodIssue[]): boolean {
  const parent = path.slice(0, -1);
  return wrong.some((issue) =>
    issue.code === "unrecognized_keys" && isDeepStrictEqual(issue.path, parent) &&
    issue.keys.some((key) => nearest(key, keysOf(parent)) === path.at(-1))
  );
}

function valueAt(value: unknown, path: Path): { found: unknown; whole: boolean } {
  let found = value;
  for (const step of path) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, step)) {
      return { found: undefined, whole: false };
    }
    found = (found as Record<string | number, unknown>)[step];
  }
  return { found, whole: true };
}

/** The keys that there can be at a place. */
function keysOf(path: Path): string[] {
  const [first, , third] = path;
  if (first === undefined) return Object.keys(fileSchema.shape);
  if (third === "forwards") return ["name", "local", "remote", "dynamic", "to"];
  const all = Object.keys(tunnelSchema.shape);
  return first === "defaults"
    ? all.filter((key) => !["host", "forwards", "groups", "dependsOn"].includes(key))
    : all;
}

/** A name that JavaScript has its own use for, and zod passes by. */
function refuseUnlisted(
  value: unknown,
  complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void,
): void {
  const tunnels = mappingAt(value, "tunnels");
  const mappings: [Path, unknown][] = [
    [["tunnels"], tunnels],
    [["defaults", "options"], mappingAt(value, "defaults")["options"]],
    ...Object.keys(tunnels).map((name): [Path, unknown] => [
      ["tunnels", name, "options"],
      asMapping(tunnels[name])["options"],
    ]),
  ];
  for (const [path, mapping] of mappings) {
    if (!Object.hasOwn(asMapping(mapping), "__proto__")) continue;
    complain([...path, "__proto__"], { message: "this can be no name" });
    delete asMapping(mapping)["__proto__"];
  }
}

function mappingAt(value: unknown, key: string): Record<string, unknown> {
  const { found } = valueAt(value, [key]);
  const mapping = typeof found === "object" && found !== null && !Array.isArray(found);
  return mapping ? found as Record<string, unknown> : {};
}

/** What a tunnel says takes the place of what contradicts it in the defaults. */
function merged(
  name: string,
  defaults: Record<string, unknown>,
  own: Record<string, unknown>,
): Record<string, unknown> {
  const inherited = { ...defaults };
  if (own["hostKey"] !== undefined) delete inherited["knownHosts"];
  if (own["knownHosts"] !== undefined) delete inherited["hostKey"];
  if (typeof own["host"] === "string") {
    if (/@/.test(own["host"])) delete inherited["user"];
    if (/^ssh:\/\/.*:\d+\/?$/.test(own["host"])) delete inherited["port"];
  }
  // The one that all others go through goes through no other.
  if ([inherited["jump"]].flat().includes(name)) delete inherited["jump"];
  const options = { ...asMapping(own["options"]) };
  const said = new Set(Object.keys(options).map((keyword) => keyword.toLowerCase()));
  for (const [keyword, value] of Object.entries(asMapping(defaults["options"]))) {
    if (!said.has(keyword.toLowerCase())) options[keyword] = value;
  }
  return { ...inherited, ...own, ...(Object.keys(options).length > 0 ? { options } : {}) };
}

function asMapping(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

/** What is left of a mapping without what was complained of: more may be wrong with it. */
function withoutMistakes(
  value: unknown,
  at: Path,
  issues: readonly z.core.$ZodIssue[],
): Record<string, unknown> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const left: Record<string, unknown> = { ...value };
  for (const issue of issues) {
    if (!at.every((step, index) => issue.path[index] === step)) continue;
    const [key, index] = issue.path.slice(at.length);
    const forwards = left["forwards"];
    if (key === undefined) {
      for (const unknown of issue.code === "unrecognized_keys" ? issue.keys : []) {
        delete left[unknown];
      }
    } else if (key === "forwards" && typeof index === "number" && Array.isArray(forwards)) {
      // Its place is kept, for those that follow.
      const stand = { name: `forward-${index}`, dynamic: 0 };
      left["forwards"] = forwards.map((forward, other) => other === index ? stand : forward);
    } else if (key === "options" && index !== undefined) {
      left["options"] = { ...asMapping(left["options"]) };
      delete asMapping(left["options"])[String(index)];
    } else if (key === "host") {
      left["host"] = "host";
    } else {
      delete left[String(key)];
    }
  }
  return left;
}

function checkOwn(
  own: Record<string, unknown>,
  at: Path,
  complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void,
): void {
  if (own["hostKey"] !== undefined && own["knownHosts"] !== undefined) {
    complain([...at, "hostKey"], {
      message: "hostKey and knownHosts are two ways to know the server: give one",
    });
  }
}

/** What is told of what was found: each once, in the order of the file. */
function told(problems: readonly Problem[], { tabbed }: Places): Problem[] {
  // A line that is indented by a tab is somewhere else than it seems: the rest follows from that.
  if (tabbed.length > 0) return tabMistakes(tabbed);
  const all = [...problems].sort((one, other) => (one.line ?? 0) - (other.line ?? 0));
  if (all.length <= MOST_PROBLEMS) return all;
  const more = { path: "", message: `and ${all.length - MOST_PROBLEMS} more` };
  return [...all.slice(0, MOST_PROBLEMS), more];
}
