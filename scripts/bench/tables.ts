/** The figures as tables in Markdown. */
import type { Measure, Metric } from "./measures.ts";
import type { ToolName } from "./options.ts";
import type { Results } from "./results.ts";
import type { Verdict } from "./targets.ts";

/** A column: a tool, and what stands over it. */
export interface Column {
  readonly name: ToolName;
  readonly label: string;
}

/**
 * One table: a line for each figure, a column for each tool, ratios to ssh in brackets. undefined
 * where there is no figure at all.
 */
export function figuresTable(
  measures: readonly Measure[],
  columns: readonly Column[],
  results: Results,
  { titles = true }: { titles?: boolean } = {},
): string | undefined {
  const lines = measures.flatMap(({ title, metrics }) =>
    metrics.map((metric) => [
      titles ? `${title}: ${metric.label}` : metric.label,
      metric.unit,
      ...columns.map(({ name }) => cell(name, metric, results)),
      format(results.get("direct", metric.key), metric.digits) ?? "",
    ])
  ).filter((line) => line.slice(2).some((text) => text !== ""));
  if (lines.length === 0) return undefined;
  const head = ["", "unit", ...columns.map(({ label }) => label), "no tunnel"];
  // Most have nothing to show without a tunnel.
  const width = lines.some((line) => line.at(-1) !== "") ? head.length : head.length - 1;
  return table(head.slice(0, width), lines.map((line) => line.slice(0, width)));
}

/** The targets, each with what was measured. */
export function targetsTable(
  verdicts: readonly Verdict[],
  label: (tool: ToolName) => string,
): string {
  return table(
    ["target", "tool", "wanted", "measured", "met"],
    verdicts.map(({ label: what, tool, sense, bound, unit, measured, met }) => {
      const suffix = unit === undefined ? "× ssh" : ` ${unit}`;
      return [
        what,
        label(tool),
        `${sense} ${bound}${suffix}`,
        measured === undefined
          ? "not measured"
          : `${measured.toFixed(unit === undefined ? 2 : 1)}${suffix}`,
        met === undefined ? "" : met ? "yes" : "**no**",
      ];
    }),
  );
}

function cell(tool: ToolName, { key, digits }: Metric, results: Results): string {
  const text = format(results.get(tool, key), digits);
  if (text === undefined) return results.reason(tool, key) ?? "";
  const ratio = tool === "ssh" ? undefined : results.ratio(tool, key);
  return ratio === undefined ? text : `${text} (${ratio.toFixed(2)})`;
}

function format(value: number | undefined, digits: number): string | undefined {
  return value?.toFixed(digits);
}

/** Aligned, so that it can be read as it is too: names to the left, figures to the right. */
export function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((name, column) =>
    Math.max(3, name.length, ...lines.map((line) => (line[column] ?? "").length))
  );
  const row = (cells: readonly string[]) =>
    `| ${
      cells.map((cell, column) => {
        const width = widths[column] ?? 0;
        return column < 2 ? cell.padEnd(width) : cell.padStart(width);
      }).join(" | ")
    } |`;
  const rule = widths.map((width, column) =>
    column < 2 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  return [row(head), row(rule), ...lines.map(row)].join("\n");
}
