/** The chart: bars of how many times as good as ssh, on a scale where twice is as far as half. */
import type { Column } from "./tables.ts";
import type { Metric } from "./measures.ts";
import type { Results } from "./results.ts";

/** A group of bars: a name, and the figure that it shows. */
export interface ChartLine {
  readonly label: string;
  readonly metric: Pick<Metric, "key" | "better">;
}

const LEFT = 250;
const RIGHT = 60;
const WIDTH = 900;
const TOP = 84;
const BAR = 11;
const GAP = 14;
const FOOT = 20;

/** Draws it; every column but ssh's own has a bar in every group. */
export function chart(
  lines: readonly ChartLine[],
  columns: readonly Column[],
  results: Results,
): string {
  const tools = columns.filter(({ name }) => name !== "ssh");
  const bars = lines.map(({ label, metric }) => ({
    label,
    values: tools.map(({ name }) => timesAsGood(results.ratio(name, metric.key), metric.better)),
  })).filter(({ values }) => values.some((value) => value !== undefined));
  const all = bars.flatMap(({ values }) => values.filter((value) => value !== undefined));
  const low = Math.floor(Math.log2(Math.min(0.5, ...all)));
  const high = Math.ceil(Math.log2(Math.max(2, ...all)));
  const x = (value: number) =>
    LEFT + (WIDTH - LEFT - RIGHT) * (Math.log2(value) - low) / (high - low);

  const group = tools.length * BAR + GAP;
  const bottom = TOP + bars.length * group;
  const powers = Array.from({ length: high - low + 1 }, (_, index) => 2 ** (low + index));
  const grid = powers.flatMap((value) => [
    `<path class="${value === 1 ? "ssh" : "grid"}" d="M${at(x(value))} ${TOP - 6}V${bottom}"/>`,
    text(x(value), TOP - 12, value === 1 ? "ssh" : tick(value), "middle"),
  ]);
  const groups = bars.flatMap(({ label, values }, line) => {
    const y = TOP + line * group + GAP / 2;
    return [
      text(LEFT - 12, y + (group - GAP) / 2 + 4, label, "end"),
      ...values.flatMap((value, tool) => {
        if (value === undefined) return [];
        const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
        const top = y + tool * BAR;
        return [
          `<rect class="tool${tool}" x="${at(from)}" y="${at(top)}" width="${at(to - from)}" ` +
          `height="${BAR - 1}"/>`,
          value < 1
            ? text(from - 4, top + BAR - 2, times(value), "end", "small")
            : text(to + 4, top + BAR - 2, times(value), "start", "small"),
        ];
      }),
    ];
  });
  const legend = tools.flatMap(({ label }, tool) => {
    const left = LEFT + tool * 145;
    return [
      `<rect class="tool${tool}" x="${left}" y="34" width="12" height="12"/>`,
      text(left + 18, 44, label, "start"),
    ];
  });
  const height = bottom + FOOT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" ` +
    `width="${WIDTH}" height="${height}">`,
    "<title>fairlead beside ssh</title>",
    `<style>${STYLE}</style>`,
    text(LEFT, 20, "How many times as good as ssh: further to the right is better", "start"),
    ...legend,
    ...grid,
    ...groups,
    "</svg>",
    "",
  ].join("\n");
}

/** Readable on a light page and on a dark one: it has no ground of its own. */
const STYLE = [
  "text{font:13px sans-serif;fill:#24292f}",
  ".small{font-size:10px}",
  ".grid{stroke:#8c959f;stroke-opacity:.35}",
  ".ssh{stroke:#24292f;stroke-width:2}",
  ".tool0{fill:#0969da}.tool1{fill:#54aeff}.tool2{fill:#bf8700}.tool3{fill:#2da44e}",
  "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ssh{stroke:#e6edf3}}",
].join("");

/** Above 1 is better, whatever the figure is. */
function timesAsGood(ratio: number | undefined, better: Metric["better"]): number | undefined {
  if (ratio === undefined || !(ratio > 0)) return undefined;
  return better === "more" ? ratio : 1 / ratio;
}

function text(x: number, y: number, content: string, anchor: string, style?: string): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const attribute = style === undefined ? "" : ` class="${style}"`;
  return `<text${attribute} x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${escaped}</text>`;
}

function at(position: number): string {
  return String(Math.round(position * 10) / 10);
}

function tick(value: number): string {
  return value < 1 ? `1/${1 / value}` : `${value}×`;
}

function times(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)}×`;
}
