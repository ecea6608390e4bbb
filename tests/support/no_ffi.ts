/**
 * Loaded before everything else by scripts/test.ts --no-ffi: this Deno may not call libraries of
 * the system. Denied with --deny-ffi, Deno would keep much more back, such as /proc.
 */
interface Permissions {
  querySync(descriptor: { name: string }): object;
}
const { permissions } = (globalThis as unknown as { Deno: { permissions: Permissions } }).Deno;
const query = permissions.querySync.bind(permissions);
permissions.querySync = (descriptor) =>
  descriptor.name === "ffi" ? { state: "denied" } : query(descriptor);
