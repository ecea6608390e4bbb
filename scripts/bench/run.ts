/** One run: every measure with every tool in turn, round after round. */
import { type Effort, IDLE, type Measure } from "./measures.ts";
import { Results } from "./results.ts";
import { type Contender, openStage, type Stage } from "./stage.ts";
import type { Tool } from "./tools.ts";

/** What to run. */
export interface Plan {
  readonly measures: readonly Measure[];
  readonly tools: readonly Tool[];
  readonly quick: boolean;
  /** Whether the measures were asked for by name, not just all of them. */
  readonly byName: boolean;
  /** How often; undefined for what belongs to the mode. */
  readonly rounds: number | undefined;
  /** Told what is done now. */
  progress(text: string): void;
  /** Ends the run; what was started is stopped. */
  readonly signal: AbortSignal;
}

const FULL: Effort = {
  seconds: 1.5,
  warmUp: 0.4,
  roundTrips: 20,
  uploads: Infinity,
  asking: 1,
  idle: IDLE,
  idleSeconds: 3,
};

const QUICK: Effort = {
  seconds: 0.5,
  warmUp: 0.2,
  roundTrips: 10,
  uploads: 50,
  asking: 0.4,
  idle: [1, 1_000],
  idleSeconds: 1,
};

/** Does it. Where it is stopped before its end, the figures are those that it has by then. */
export async function run(plan: Plan): Promise<Results> {
  const { rounds = plan.quick ? plan.byName ? 3 : 2 : 5 } = plan;
  const results = new Results();
  await using stage = await openStage();
  const stopped = new Promise<void>((resolve) => {
    plan.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  for (let round = 0; round < rounds && !plan.signal.aborted; round++) {
    const measures = plan.measures.filter((measure) => wanted(measure, plan, round));
    const work = oneRound(stage, { ...plan, measures }, round, results);
    // Once it is stopped, what it works with is taken from under it.
    work.catch(() => {});
    await Promise.race([work, stopped]);
  }
  return results;
}

async function oneRound(
  stage: Stage,
  plan: Plan,
  round: number,
  results: Results,
): Promise<void> {
  // None always comes first, when the machine is still warm from the one before.
  const tools = plan.tools.map((_, index, all) => all[(index + round) % all.length] as Tool);
  let rtt = 0;
  for (const measure of plan.measures) {
    // Over a long link it takes a while to log in; over none, an idle tool costs nothing.
    if (measure.rtt !== rtt) await stage.closeTunnels();
    rtt = measure.rtt;
    const direct = measure.direct && round === 0 && !(plan.quick && measure.rtt > 0);
    const contenders: Contender[] = direct ? ["direct", ...tools] : tools;
    if (!measure.own) {
      await Promise.all(contenders.map((contender) => stage.tunnel(contender, rtt)));
    }
    for (const contender of contenders) {
      if (plan.signal.aborted) return;
      const who = contender === "direct" ? contender : contender.name;
      plan.progress(`round ${round + 1}: ${measure.name} ${who}`);
      results.add(who, await measure.run(stage, contender, plan.quick ? QUICK : FULL));
    }
  }
  await stage.closeTunnels();
}

function wanted({ quick }: Measure, plan: Plan, round: number): boolean {
  if (!plan.quick || plan.byName) return true;
  return quick === "every round" || (quick === "once" && round === 0);
}
