/** One run: every measure with every tool in turn, round after round. */
import { Bystanders } from "./bystanders.ts";
import { type Effort, IDLE, type Measure } from "./measures.ts";
import { Results } from "./results.ts";
import { type Contender, openStage, type Stage, type WorkerRuntimes } from "./stage.ts";
import type { Tool } from "./tools.ts";

/** What to run. */
export interface Plan {
  readonly measures: readonly Measure[];
  readonly tools: readonly Tool[];
  readonly quick: boolean;
  /** Default: what belongs to the mode. */
  readonly effort?: Effort;
  /** What runs the processes that carry the load. */
  readonly workers: WorkerRuntimes;
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
  settle: 0.5,
};

const QUICK: Effort = {
  seconds: 0.5,
  warmUp: 0.2,
  roundTrips: 10,
  uploads: 50,
  asking: 0.4,
  idle: [1, 1_000],
  idleSeconds: 1,
  settle: 0.5,
};

/** What came of it. */
export interface Outcome {
  readonly results: Results;
  /** How many rounds were begun. */
  readonly rounds: number;
  /** The share of the processors that programs beside the bench had meanwhile, from 0 to 1. */
  readonly others: number;
}

/** Does it. Where it is stopped before its end, the figures are those that it has by then. */
export async function run(plan: Plan): Promise<Outcome> {
  const { rounds = plan.quick ? plan.byName ? 3 : 2 : 5 } = plan;
  const results = new Results();
  const bystanders = new Bystanders();
  await using stage = await openStage(plan.workers);
  const stopped = new Promise<void>((resolve) => {
    plan.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  let round = 0;
  for (; round < rounds && !plan.signal.aborted; round++) {
    const measures = plan.measures.filter((measure) => wanted(measure, plan, round));
    const work = oneRound(stage, { ...plan, measures }, round, { results, bystanders });
    // Once it is stopped, what it works with is taken from under it.
    work.catch(() => {});
    await Promise.race([work, stopped]);
  }
  return { results, rounds: round, others: bystanders.share };
}

async function oneRound(
  stage: Stage,
  plan: Plan,
  round: number,
  { results, bystanders }: { results: Results; bystanders: Bystanders },
): Promise<void> {
  // None always comes first, when the machine is still warm from the one before.
  const tools = plan.tools.map((_, index, all) => all[(index + round) % all.length] as Tool);
  const { effort = plan.quick ? QUICK : FULL } = plan;
  let rtt = 0;
  for (const measure of plan.measures) {
    // Over a long link it takes a while to log in; over none, an idle tool costs nothing.
    if (measure.rtt !== rtt) await stage.closeTunnels();
    rtt = measure.rtt;
    const direct = measure.direct && round === 0 && !(plan.quick && measure.rtt > 0);
    const contenders: Contender[] = direct ? ["direct", ...tools] : tools;
    if (!measure.own) {
      // At once; who fails is told when it is asked for its tunnel.
      await Promise.allSettled(contenders.map((contender) => stage.tunnel(contender, rtt)));
    }
    for (const contender of contenders) {
      if (plan.signal.aborted) return;
      const who = contender === "direct" ? contender : contender.name;
      plan.progress(`round ${round + 1}: ${measure.name} ${who}`);
      try {
        results.add(who, await bystanders.during(() => measure.run(stage, contender, effort)));
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        results.fail(who, measure.metrics, `${measure.name} ${who}: ${reason}`);
        // Whatever it broke, the next shall find it whole.
        await stage.closeTunnels();
      }
    }
  }
  await stage.closeTunnels();
}

function wanted({ quick }: Measure, plan: Plan, round: number): boolean {
  if (!plan.quick || plan.byName) return true;
  return quick === "every round" || (quick === "once" && round === 0);
}
