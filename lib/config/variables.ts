/**
 * `${VAR}` and `${VAR:-default}` in the values of a fairlead.yaml.
 *
 * @module
 */
import type { Path, Problem } from "./problems.ts";
import { isSecret } from "./shown_value.ts";

/** A default that is longer than this is none: the search for its end must end. */
const VARIABLE = /\$\$\{|\$\{([^}]{0,1000})\}|\$\{/g;
const FORM = /^([A-Za-z_]\w*)(?::-(.*))?$/s;

/**
 * Expands the variables of every text in a value. Keys are left alone, and what a variable holds is
 * text: it is not read as YAML.
 *
 * @param value What was read from the file.
 * @param environment The variables.
 * @param complain Called for each that cannot be expanded.
 * @returns A copy with all of them expanded; `$${` has become `${`.
 */
export function expandVariables(
  value: unknown,
  environment: Readonly<Record<string, string | undefined>>,
  complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void,
): unknown {
  const expand = (value: unknown, path: Path): unknown => {
    if (typeof value === "string") {
      return value.replace(VARIABLE, (whole: string, inside: string | undefined) => {
        if (whole === "$${") return "${";
        const [, name, otherwise] = FORM.exec(inside ?? "") ?? [];
        if (name === undefined) {
          const hint = "$${ stands for the two characters themselves";
          const found = isSecret(path) ? "something else" : whole;
          complain(path, { message: `found ${found}, wanted \${NAME} or \${NAME:-default}`, hint });
          return "";
        }
        const set = environment[name];
        // As in a shell, an empty one takes the default as well.
        if (otherwise !== undefined) return set === undefined || set === "" ? otherwise : set;
        if (set !== undefined) return set;
        complain(path, {
          message: `the variable ${name} is not set`,
          hint: `\${${name}:-default} does without`,
        });
        return "";
      });
    }
    if (Array.isArray(value)) return value.map((item, index) => expand(item, [...path, index]));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, expand(item, [...path, key])]),
    );
  };
  return expand(value, []);
}
