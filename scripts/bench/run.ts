/** One run: every measure with every tool in turn, round after round. */
import { Bystanders } from "./bystanders.ts";
import { IDLE, type Measure } from "./measures.ts";
import type { Effort } from "./probes.ts";
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
  /** How often; default 5. */
  readonly rounds: number | undefined;
  /** Told what is done now. */
  progress(text: string): void;
  /** Ends the run; what was started is stopped. */
  readonly signal: AbortSignal;
}

const FULL: Effort = {
  seconds: 1,
  warmUp: 0.3,
  roundTrips: { warmUp: 20, seconds: 10 },
  uploads: Infinity,
  asking: 1,
  busyAsking: 1.2,
  idle: IDLE,
  idleSeconds: 2,
  settle: 0.5,
};

const QUICK: Effort = {
  seconds: 0.3,
  warmUp: 0.15,
  roundTrips: { warmUp: 9, seconds: 8 },
  uploads: 50,
  asking: 0.12,
  busyAsking: 0.5,
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
  const { rounds = 5 } = plan;
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
  for (const measure of plan.measures) {
    const { rtt } = measure;
    const direct = measure.direct && round === 0 && !(plan.quick && rtt > 0);
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
    if (rtt > 0) await stage.closeTunnels(rtt);
  }
  // New processes for every round, but not where time is short.
  if (!plan.quick) await stage.closeTunnels();
}

function wanted({ quick }: Measure, plan: Plan, round: number): boolean {
  return !plan.quick || plan.byName || round < quick;
}
