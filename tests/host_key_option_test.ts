/** --host-key: the server's key on the command line. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { readCommandLine } from "../lib/cli/options.ts";
import { UsageError } from "../lib/errors.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const FINGERPRINT = "SHA256:OKvJPCf3KLFx/1ioWq7ZI1K/Jsw3TWJuMOFzMiSFDw8";

/** Runs with the variable of this value, or without it. */
function withVariable<T>(value: string | undefined, run: () => T): T {
  if (value !== undefined) process.env["FAIRLEAD_TEST_KEY"] = value;
  try {
    return run();
  } finally {
    delete process.env["FAIRLEAD_TEST_KEY"];
  }
}

function hostKeys(...args: string[]): string[] | undefined {
  return readCommandLine([...args, "host"]).settings.hostKeys;
}

function refusal(...values: string[]): UsageError {
  try {
    hostKeys(...values.flatMap((value) => ["--host-key", value]));
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    assert.equal(error.code, "usage");
    return error;
  }
  assert.fail(`${values.join(" ")} was not refused`);
}

test("--host-key takes a fingerprint or a public key, any number of them", () => {
  assert.equal(hostKeys(), undefined);
  assert.deepEqual(hostKeys("--host-key", FINGERPRINT), [FINGERPRINT]);
  assert.deepEqual(hostKeys(`--host-key=${ED25519} me@home`), [`${ED25519} me@home`]);
  assert.deepEqual(
    hostKeys("--host-key", ` ${ED25519}\n`, "-N", "--host-key", FINGERPRINT),
    [ED25519, FINGERPRINT],
  );
});

test("--host-key env:NAME takes the keys of a variable, one a line", () => {
  const value = `\n# from the vault\r\n${ED25519} a\r\n\n  ${FINGERPRINT}  \n`;
  withVariable(value, () => {
    assert.deepEqual(
      hostKeys("--host-key", "env:FAIRLEAD_TEST_KEY", "--host-key", SECOND),
      [`${ED25519} a`, FINGERPRINT, SECOND],
    );
  });
});

test("a malformed key is a usage error that says what is wrong", () => {
  const cases: [string, RegExp][] = [
    ["", /it is empty/],
    ["SHA256:short", /43 characters/],
    [`${FINGERPRINT}=`, /43 characters/],
    ["MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", /MD5 fingerprint/],
    ["16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", /MD5 fingerprint/],
    ["ssh-ed25519", /nothing follows the key type/],
    [ED25519.slice(0, -8), /damaged or cut short/],
    [`[host]:2222 ${ED25519}`, /host name stands before the key/],
    ["/etc/ssh/ssh_host_ed25519_key.pub", /it is a path/],
    ["env:", /name of an environment variable/],
    ["env:A-B", /name of an environment variable/],
    ["env:FAIRLEAD_TEST_KEY", /FAIRLEAD_TEST_KEY: the variable is not set/],
  ];
  for (const [value, problem] of cases) {
    const { message } = refusal(ED25519, value);
    assert.match(message, problem);
    assert.match(message, /^--host-key/);
  }
  for (const value of ["", "\n\n", "# nothing\n"]) {
    const { message } = withVariable(value, () => refusal("env:FAIRLEAD_TEST_KEY"));
    assert.equal(message, "--host-key env:FAIRLEAD_TEST_KEY: the variable holds no key");
  }
});

test("what was given by mistake is not repeated, for it may be a private key", () => {
  const secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
  const privateKey = `-----BEGIN OPENSSH PRIVATE KEY-----\n${secret}\n-----END`;
  for (
    const text of [privateKey, secret, `ssh-ed25519 ${secret}`, `x ${secret}`, `SHA256:${secret}`]
  ) {
    const errors = [
      refusal(text),
      withVariable(`${ED25519}\n${text}`, () => refusal("env:FAIRLEAD_TEST_KEY")),
    ];
    for (const { message, hint } of errors) {
      assert.ok(!`${message} ${hint}`.includes(secret.slice(0, 12)), message);
    }
    assert.match(errors[1]?.message ?? "", /^--host-key env:FAIRLEAD_TEST_KEY, line 2: /);
  }
  assert.match(refusal(privateKey).message, /it is a private key/);
});
