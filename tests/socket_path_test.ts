/** Where the control socket may be. */
import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { keptMetrics, serveInFront } from "../lib/cli/background_process.ts";
import { controlSocketPath } from "../lib/control/socket_path.ts";
import { Supervisor } from "../lib/control/supervisor.ts";
import { tempDir } from "./support/tools.ts";

/** Nobody's number, on every system. */
const NOBODY = 65_534;

test("a folder of another user, a link and a file are refused in one line", async () => {
  await using folder = await tempDir();
  const inner = join(folder.path, "fairlead");
  const claim = () => controlSocketPath({ XDG_RUNTIME_DIR: folder.path });
  const refused = (reason: RegExp) => {
    assert.throws(claim, (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, "not-permitted");
      assert.match(error.message, reason);
      assert.ok(error.message.startsWith(inner) && !error.message.includes("\n"), error.message);
      assert.equal(error.hint, "XDG_RUNTIME_DIR can name another folder of yours");
      return true;
    });
  };
  mkdirSync(join(folder.path, "elsewhere"));
  symlinkSync(join(folder.path, "elsewhere"), inner);
  refused(/: it is no folder$/);
  renameSync(inner, join(folder.path, "link"));
  if (process.getuid?.() === 0) {
    mkdirSync(inner, { mode: 0o700 });
    chownSync(inner, NOBODY, NOBODY);
    refused(/: it belongs to another user$/);
  }
});

test("a path that no Unix socket can have is refused, and says what to do", () => {
  const XDG_RUNTIME_DIR = `/tmp/${"x".repeat(90)}`;
  assert.throws(() => controlSocketPath({ XDG_RUNTIME_DIR }), {
    code: "address-not-available",
    message: /: longer than the path of a Unix socket can be$/,
    hint: /shorter path/,
  });
  assert.equal(existsSync(XDG_RUNTIME_DIR), false, "and nothing is made");
});

test("where there are no Unix sockets, up --foreground keeps its tunnels without one", async () => {
  const supervisor = new Supervisor({ version: "1.0.0" });
  const actions = keptMetrics(() => supervisor.status(), { event: () => {}, warn: () => {} });
  const { getuid } = process;
  try {
    // As on Windows.
    Object.assign(process, { getuid: undefined });
    assert.throws(() => controlSocketPath(), { hint: "fairlead up --foreground does without" });
    assert.equal(await serveInFront(supervisor, actions), undefined);
  } finally {
    Object.assign(process, { getuid });
  }
});
