/**
 * `fairlead check`: what is wrong with named tunnels, before anybody needs them.
 *
 * @module
 */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { secretsOf } from "../config/secrets.ts";
import { selectTunnels } from "../config/select.ts";
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { tunnelHost, tunnelOptions } from "../control/open_tunnel.ts";
import { SessionError } from "../errors.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { oneAtATime } from "../ssh/prompter_queue.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import type { ConnectOptions, Tunnel } from "../tunnel/tunnel.ts";
import { personPrompter } from "./askpass.ts";
import { Logins, tryForwards } from "./check_connect.ts";
import { checkHost, firstHop } from "./check_host.ts";
import { checkHostKeys } from "./check_host_key.ts";
import { checkKeys } from "./check_keys.ts";
import { ListenerChecks } from "./check_listeners.ts";
import { CheckReport, counted } from "./check_report.ts";
import { type Finding, fine, wrong } from "./finding.ts";
import { CONFIG_RULE, configOf, type FileOptions, read } from "./named.ts";
import { optionLines } from "./options.ts";
import type { Rule } from "./rules.ts";
import { stopSignal } from "./signals.ts";
import { COMMON_RULES, type Surroundings } from "./subcommand.ts";

/** Something is wrong. */
const WRONG = 1;
/** What to do where an error does not say it. */
const MEND = "mend what it names";
/** Milliseconds for files and agents, which may be on a disk that does not answer. */
const LONGEST = 15_000;
const LOOK = "`fairlead -vv` and its host show each step";

interface CheckOptions extends FileOptions {
  connect: boolean;
}

/** The options that `check` has besides the common ones. */
export const CHECK_RULES: readonly Rule<CheckOptions>[] = [
  CONFIG_RULE,
  {
    flags: "--connect",
    help: "log in as well, and try what each forward leads to",
    apply: (options) => {
      options.connect = true;
    },
  },
];

const HELP = `usage: fairlead check [name...] [--config FILE] [--connect] [--json]

Looks at tunnels of fairlead.yaml, by their names or groups, or at all: whether
the file can be used, hosts resolve, keys can be read and host keys are known,
and ports are free, or who has them. Nothing is connected to without --connect.

${optionLines([...CHECK_RULES, ...COMMON_RULES])}

Status: 0 all is well, 1 something is wrong, 2 the file or the command line is.
`;

/**
 * Runs `fairlead check`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status: 1 when anything is wrong.
 * @throws {UsageError} When the file cannot be used, with all that is wrong with it.
 */
export async function runCheck(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<CheckOptions>(args, surroundings, {
    ...{ word: "check", rules: CHECK_RULES, help: HELP },
    options: { config: undefined, connect: false },
  });
  if (line === undefined) return 0;
  const { options, output } = line;
  const file = configOf(options.config);
  const tunnels = selectTunnels(file, line.operands);
  const { env: environment } = process;

  const report = new CheckReport(tunnels, options, output);
  const forwards = tunnels.reduce((sum, { forwards }) => sum + forwards.length, 0);
  const words = `${counted(tunnels.length, "tunnel")}, ${counted(forwards, "forward")}`;
  report.add(undefined, fine("file", `${file.shown} can be used: ${words}`));
  const stop = stopSignal();
  const prompter = personPrompter();
  const person = { prompter: prompter && oneAtATime(prompter), signal: stop.first, environment };
  const checks = startChecks(tunnels, person, options.connect);
  const stopped = new Promise<void>((resolve) => {
    stop.first.addEventListener("abort", () => resolve());
  });
  await Promise.race([stopped, tellAll(checks, report)]);
  // Nothing of it is of use to anybody: leaving ends it.
  if (stop.first.aborted) return stop.status();
  await checks.close();
  report.end();
  return report.wrong > 0 ? WRONG : 0;
}

/** Whom the checks may ask, and what ends them. */
interface Person {
  readonly prompter: Prompter | undefined;
  readonly signal: AbortSignal;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** All checks, under way; each settles when it is done, and none rejects. */
interface Checks {
  readonly of: readonly { readonly tunnel: string; readonly parts: Promise<Part[]> }[];
  close(): Promise<void>;
}

type Part = Promise<Finding[]>;

function startChecks(
  tunnels: readonly TunnelConfig[],
  person: Person,
  connecting: boolean,
): Checks {
  const listeners = new ListenerChecks();
  const logins = new Logins();
  const opened = new Map<string, Promise<Tunnel>>();
  let before: Promise<unknown> = Promise.resolve();
  const started = tunnels.map((config) => {
    const known = readTunnel(config, person);
    // In the order of the file: of two that want the same port, the first one gets it.
    const previous = before;
    const listening = known.then(async (read) => {
      await previous;
      return "failure" in read ? [] : await listeners.check(config, read.host.settings);
    });
    before = listening.catch(() => {});
    return { config, known, listening };
  });
  // A port that is only held for the check must answer nobody.
  const released = before.then(() => listeners.close());
  for (const { config, known } of connecting ? started : []) {
    // What it leads through stands before it.
    const through = config.via === undefined ? undefined : opened.get(config.via);
    const opening = known.then(async (read) => {
      await released;
      if ("failure" in read) throw read.failure;
      return await logins.open(
        config.name,
        read.options,
        through?.catch(() => {
          throw new SessionError(
            `the tunnel ${config.via}, which it leads through, could not be had`,
            {
              code: "connect-failed",
              hint: "see what is wrong with that one",
            },
          );
        }),
      );
    });
    opening.catch(() => {});
    opened.set(config.name, opening);
  }
  return {
    of: started.map(({ config, known, listening }) => ({
      tunnel: config.name,
      parts: known.then((read): Part[] => {
        if ("failure" in read) return [Promise.resolve([wrong("file", read.failure, MEND)])];
        const { options, host } = read;
        const namesAgent = host.settings.identityAgent !== undefined;
        const reachable = config.via === undefined && options.proxy === undefined &&
          firstHop(options).proxyCommand === undefined;
        const opening = opened.get(config.name);
        return [
          safely("host", checkHost(config, options)),
          safely("key", checkKeys(config, options, person.environment, namesAgent), LONGEST),
          safely("host-key", checkHostKeys(options, reachable), LONGEST),
          safely("listener", listening),
          ...(opening === undefined
            ? []
            : [safely("login", logsIn(host, opening)), ...tryAll(config, opening, listeners)]),
        ];
      }),
    })),
    close: async () => {
      await released;
      await logins.close();
    },
  };
}

/** What is known of a tunnel before anything is tried. */
interface Read {
  readonly host: HostConfig;
  readonly options: ConnectOptions;
}

async function readTunnel(
  config: TunnelConfig,
  { prompter, signal, environment }: Person,
): Promise<Read | { readonly failure: unknown }> {
  try {
    const { host } = await tunnelHost(config, signal);
    const secrets = secretsOf(withoutMissing(config, environment), environment);
    const options = await tunnelOptions(config, host, { secrets, prompter, signal });
    return { host, options };
  } catch (failure) {
    return { failure };
  }
}

/** Variables that are not set are told of, each by itself. */
function withoutMissing(config: TunnelConfig, environment: Person["environment"]): TunnelConfig {
  const { password, passphrase, identities = [] } = config.secrets;
  const isSet = (name: string | undefined) => name !== undefined && Boolean(environment[name]);
  const present = identities.filter(isSet);
  return {
    ...config,
    secrets: {
      ...(password !== undefined && isSet(password) ? { password } : {}),
      ...(passphrase !== undefined && isSet(passphrase) ? { passphrase } : {}),
      ...(present.length > 0 ? { identities: present } : {}),
    },
  };
}

async function logsIn({ user, name }: HostConfig, opening: Promise<Tunnel>): Part {
  await opening;
  return [fine("login", `login as ${user} at ${name} works`)];
}

/** One part each forward, which has nothing to say where there was no login. */
function tryAll(
  config: TunnelConfig,
  opening: Promise<Tunnel>,
  listeners: ListenerChecks,
): Part[] {
  const trying = opening.then((tunnel) =>
    tryForwards(config, tunnel, (forward) => listeners.isUp(config, forward))
  );
  trying.catch(() => {});
  return config.forwards.map(async (_forward, index) => {
    const parts = await trying.catch(() => []);
    return await parts[index] ?? [];
  });
}

/** A mistake of a check ends neither the others nor the program, and none is waited for for ever. */
async function safely(what: Finding["what"], part: Part, within?: number): Part {
  const late = new AbortController();
  const tooLate = within === undefined
    ? []
    : [sleep(within, [wrong(what, `${what}: no answer within ${within / 1000} s`, LOOK)], {
      signal: late.signal,
    })];
  try {
    return await Promise.race([part, ...tooLate]);
  } catch (error) {
    return [wrong(what, error, LOOK)];
  } finally {
    late.abort();
  }
}

async function tellAll({ of }: Checks, report: CheckReport): Promise<void> {
  for (const { tunnel, parts } of of) {
    for (const part of await parts) {
      for (const finding of await part) report.add(tunnel, finding);
    }
  }
}
