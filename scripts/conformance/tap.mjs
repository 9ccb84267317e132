// What a peer program written in JavaScript is made of: cases with names, run one after another,
// told in the lines that judge.py reads.
//
// Not here: any case. A case fails by throwing; one that hangs fails after `seconds`. The first
// argument names the directory of modules, the second the endpoints, as JSON.

import { createRequire } from "node:module";

const seconds = 20;
const cases = [];

export const load = createRequire(process.argv[2] + "/");
export const at = JSON.parse(process.argv[3] ?? "{}");

export function test(name, check) {
  cases.push([name, check]);
}

export function expect(what, found, wanted) {
  const [a, b] = [found, wanted].map((value) => JSON.stringify(value) ?? String(value));
  if (a !== b) {
    throw new Error(`${what}: ${a.slice(0, 120)} instead of ${b.slice(0, 120)}`);
  }
}

export function within(limit, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not in ${limit} s`)), limit * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export async function runAll() {
  console.log(`1..${cases.length}`);
  let failed = 0;
  for (const [index, [name, check]] of cases.entries()) {
    try {
      await within(seconds, "done", check());
      console.log(`ok ${index + 1} - ${name}`);
    } catch (error) {
      failed += 1;
      const why = String(error?.message ?? error).replace(/\s+/g, " ");
      console.log(`not ok ${index + 1} - ${name}: ${why}`);
    }
  }
  return failed ? 1 : 0;
}
