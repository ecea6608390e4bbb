/**
 * Who can write a file: a configuration that others can change would run their commands.
 *
 * @module
 */
import { readFileSync, type Stats } from "node:fs";
import process from "node:process";

/**
 * Whether a file is the user's own, or root's.
 *
 * @param file What is known of the file.
 * @returns Whether it is; true on Windows.
 */
export function isOwn(file: Stats): boolean {
  const uid = process.getuid?.();
  return uid === undefined || file.uid === 0 || file.uid === uid;
}

/**
 * Whether nobody but its user and root can write a file. A group's right to write does no harm
 * where the user is the only one in it, as Debian's and Ubuntu's ssh have it.
 *
 * @param file What is known of the file.
 * @returns Whether it is safe; true on Windows, where files have no such modes.
 */
export function onlyUserWrites(file: Stats): boolean {
  const uid = process.getuid?.();
  if (uid === undefined) return true;
  if (!isOwn(file)) return false;
  if ((file.mode & 0o002) !== 0) return false;
  return (file.mode & 0o020) === 0 || isAloneIn(file.gid, uid);
}

function isAloneIn(group: number, uid: number): boolean {
  try {
    const users = lines("/etc/passwd").map(([name, , id, main]) => ({
      name,
      id: Number(id),
      main: Number(main),
    }));
    const own = users.filter(({ id }) => id === uid).map(({ name }) => name);
    const others = users.filter(({ id, main }) => id !== uid && main === group);
    const members = lines("/etc/group").find(([, , id]) => Number(id) === group)?.[3];
    if (members === undefined || others.length > 0) return false;
    return members.split(",").every((name) => name === "" || own.includes(name));
  } catch {
    // Whoever cannot be asked may hold anybody.
    return false;
  }
}

function lines(path: string): string[][] {
  return readFileSync(path, "utf8").split("\n").map((line) => line.split(":"));
}
