/**
 * What a container engine does with our Dockerfile, on a machine without one: its instructions are
 * carried out one by one in empty folders, with what the binary is linked to in the place of the
 * base image, and its program runs with that folder as its root.
 */
import { spawnSync } from "node:child_process";
import { chmod, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { need, run, type Stoppable, stoppable, tempDir, which } from "./tools.ts";

/** What was built. */
export interface Image extends Stoppable {
  /** The folder that becomes the program's root. */
  readonly root: string;
  /** Where a script lies that understands as much of `docker run` as the README uses. */
  readonly docker: string;
}

/** What stands between one FROM and the next. */
interface Stage {
  readonly base: string;
  readonly steps: readonly (readonly [instruction: string, rest: string])[];
}

/** For node:test: whether a folder can become the root of a program here. */
export function skipUnlessContainers(): { skip?: string } {
  for (const tool of ["unshare", "chroot", "ldd"]) {
    if (which(tool) === undefined) return { skip: `${tool} is not installed` };
  }
  const { status } = spawnSync(need("unshare"), ["--mount", "--pid", "--fork", "true"]);
  return status === 0 ? {} : { skip: "this machine allows no namespaces" };
}

/**
 * Builds an image for amd64.
 *
 * @param dockerfile The path of the Dockerfile.
 * @param context The folder whose files it copies.
 * @throws {Error} When it uses an instruction that is not known here.
 */
export async function buildImage(dockerfile: string, context: string): Promise<Image> {
  const stages = parse(await readFile(dockerfile, "utf8"));
  const last = stages.get("");
  if (last === undefined) throw new Error(`the last stage of ${dockerfile} has a name`);
  const folder = await tempDir("fairlead-image-");
  // Anybody's, as the root of a container is.
  await chmod(folder.path, 0o755);

  // A stage is built when another one needs it, as BuildKit does.
  const built = new Map<Stage, string>();
  const build = async (stage: Stage): Promise<string> => {
    const from = stages.get(stage.base);
    const root = built.get(stage) ?? (from && await build(from)) ??
      join(folder.path, `stage${built.size}`);
    if (built.has(stage)) return root;
    built.set(stage, root);
    await mkdir(root, { recursive: true });
    for (const [instruction, rest] of stage.steps) {
      if (instruction !== "COPY") continue;
      const [, name, mode, source = "", destination = ""] =
        /^(?:--from=(\S+) )?(?:--chmod=(\d+) )?([^\s-]\S*) (\/\S+)$/.exec(rest) ?? [];
      const other = stages.get(name ?? "");
      if (source === "" || other === undefined) throw new Error(`COPY cannot do this: ${rest}`);
      const target = join(root, destination);
      await mkdir(dirname(target), { recursive: true });
      await copyFile(join(name === undefined ? context : await build(other), source), target);
      if (mode !== undefined) await chmod(target, Number.parseInt(mode, 8));
    }
    return root;
  };

  const root = await build(last);
  await addBase(root);
  const docker = join(folder.path, "docker");
  await writeFile(docker, dockerScript(root, new Map(last.steps)), { mode: 0o755 });
  return stoppable({ root, docker }, () => folder.stop());
}

/** The stages by their names; the last one has none. */
function parse(text: string): Map<string, Stage> {
  const stages = new Map<string, Stage>();
  let steps: [string, string][] | undefined;
  for (const line of text.replace(/^#.*$/gm, "").split("\n").filter((line) => line !== "")) {
    const [, instruction = "", args = ""] = /^(\S+) (.*)$/.exec(line) ?? [];
    const rest = args.replaceAll("${TARGETARCH}", "amd64");
    if (instruction === "FROM") {
      const [, base = "", name = ""] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? [];
      stages.set(name, { base, steps: steps = [] });
    } else if (/^(?:COPY|ENV|USER|STOPSIGNAL|ENTRYPOINT)$/.test(instruction) && steps) {
      steps.push([instruction, rest]);
    } else if (line !== "ARG TARGETARCH") {
      throw new Error(`an instruction that the tests do not know: ${line}`);
    }
  }
  return stages;
}

/** The libraries that the program is linked to, and the folders that an engine mounts upon. */
async function addBase(root: string): Promise<void> {
  const { stdout } = await run("ldd", [join(root, "usr/local/bin/fairlead")]);
  const libraries = [...stdout.matchAll(/(?<=\s)\/\S+/g)].map(([path]) => path);
  for (const path of libraries) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(path, join(root, path));
  }
  for (const name of ["proc", "dev", "tmp", "etc", "home/fairlead/.ssh"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/hosts"), "127.0.0.1 localhost\n");
}

/**
 * A stricter `docker run`: nothing of the root can be written to. The network is this machine's
 * own, so that there is nothing for -p to do.
 */
function dockerScript(root: string, settings: Map<string, string>): string {
  const entrypoint: string[] = JSON.parse(settings.get("ENTRYPOINT") ?? "[]");
  return `#!/bin/sh
set -eu
if [ $# = 0 ] || [ "$1" != run ]; then echo "only run is known" >&2; exit 125; fi
shift
if [ -z "\${IN_NAMESPACE:-}" ]; then
  # The program is number 1 of its own processes, as in a container.
  IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" run "$@"
fi
user=${settings.get("USER")}
environment="${settings.get("ENV")}"
mount --bind ${root} ${root}
mount -t proc proc ${root}/proc
mount --bind /dev ${root}/dev
mount -o remount,bind,ro ${root}
while :; do
  case $1 in
  --rm) shift ;;
  -p) shift 2 ;;
  --user) user=$2:$2; shift 2 ;;
  -v) mount --bind "\${2%%:*}" "${root}$(echo "$2" | cut -d: -f2)"; shift 2 ;;
  -e) environment="$environment $2"; shift 2 ;;
  -*) echo "docker: unknown: $1" >&2; exit 125 ;;
  *) break ;;
  esac
done
[ "$1" = ghcr.io/fairlead/fairlead ] || { echo "no such image: $1" >&2; exit 125; }
shift
set -- ${need("chroot")} --userspec="$user" --groups= ${root} ${entrypoint.join(" ")} "$@"
for name in $environment; do
  case $name in
  *=*) set -- "$name" "$@" ;;
  # A name alone stands for what it is here.
  *) eval "set -- \\"$name=\\$$name\\" \\"\\$@\\"" ;;
  esac
done
cd /
exec env -i "$@"
`;
}
