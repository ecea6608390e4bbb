// @std/yaml as it is on npm, in the package deno-std, which has no entry point of its own.
export { parse, stringify } from "deno-std/yaml/mod.js";
